# Named arrays of doubles (F64) in a safetensors file, with base R alone. R has the first index vary fastest, the file
# the last: so matrices are turned.

read_arrays <- function(path) {
  bytes <- readBin(path, "raw", file.size(path))
  length <- sum(as.integer(bytes[1:8]) * 256^(0:7))
  header <- rawToChar(bytes[8 + seq_len(length)])
  entry <- '"([^"]+)":\\{"dtype":"F64","shape":\\[([0-9,]*)\\],"data_offsets":\\[([0-9]+),([0-9]+)\\]\\}'
  found <- regmatches(header, gregexpr(entry, header))[[1]]
  arrays <- lapply(regmatches(found, regexec(entry, found)), function(part) {
    begin <- as.numeric(part[4])
    end <- as.numeric(part[5])
    values <- readBin(bytes[8 + length + begin + seq_len(end - begin)], "double", (end - begin) / 8, endian = "little")
    shape <- as.integer(strsplit(part[3], ",")[[1]])
    if (length(shape) > 1) aperm(array(values, rev(shape))) else values
  })
  setNames(arrays, sub(entry, "\\1", found))
}

write_arrays <- function(arrays, path) {
  shapes <- vapply(arrays, function(a) paste(if (is.null(dim(a))) length(a) else dim(a), collapse = ","), "")
  ends <- cumsum(8 * lengths(arrays))
  entries <- sprintf('"%s":{"dtype":"F64","shape":[%s],"data_offsets":[%.0f,%.0f]}',
                     names(arrays), shapes, ends - 8 * lengths(arrays), ends)
  header <- charToRaw(paste0("{", paste(entries, collapse = ","), "}"))
  values <- unlist(lapply(arrays, function(a) if (is.null(dim(a))) a else aperm(a)))
  length <- as.raw(length(header) %/% 256^(0:7) %% 256)
  writeBin(c(length, header, writeBin(as.double(values), raw(), endian = "little")), paste0(path, ".new"))
  invisible(file.rename(paste0(path, ".new"), path))
}
