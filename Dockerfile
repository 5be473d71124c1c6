# One image for the orchestrator and for clients; docker-compose.yml says which of them a container is.
FROM python:3.11-slim

# The index that torch comes from: it has the CPU build; PyPI's brings gigabytes of CUDA along. Empty: PyPI.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

ENV PYTHONUNBUFFERED=1 \
    HOME=/home/celeriac \
    MPLCONFIGDIR=/home/celeriac/.config/matplotlib

# A named volume that is mounted on one of these folders for the first time takes over its owner.
RUN useradd --uid 10001 --user-group --create-home --home-dir "$HOME" --shell /usr/sbin/nologin celeriac \
    && mkdir -p /code /data /operator/broker /packages /requests /runs /state \
    && chown -R celeriac:celeriac /code /data /operator /packages /requests /runs /state

# Layers from what changes seldom to what changes often: torch, the other dependencies (each file checked by
# its digest; the step after that finds them there, and takes what a torch of PyPI's needs), the project.
RUN --mount=type=bind,source=constraints.txt,target=/tmp/constraints.txt \
    pip install --no-cache-dir --no-deps -c /tmp/constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
RUN --mount=type=bind,source=hashes/run.txt,target=/tmp/hashes.txt \
    pip install --no-cache-dir --no-deps --require-hashes -r /tmp/hashes.txt
RUN --mount=type=bind,source=constraints.txt,target=/tmp/constraints.txt \
    --mount=type=bind,source=pyproject.toml,target=/tmp/pyproject.toml \
    python -c "import tomllib; print(*tomllib.load(open('/tmp/pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
        >/tmp/requirements.txt \
    && pip install --no-cache-dir -c /tmp/constraints.txt -r /tmp/requirements.txt \
    && rm /tmp/requirements.txt
RUN --mount=type=bind,target=/tmp/source,rw \
    pip install --no-cache-dir --no-deps -c /tmp/source/constraints.txt /tmp/source

USER celeriac
# matplotlib looks for fonts once, here, and not at the end of each container's first run.
RUN python -c "import matplotlib.font_manager"

# A process finds modules of one's own (module:name) in the folder that it is started in.
WORKDIR /code
CMD ["python", "-m", "orchestrator.start", "--help"]
