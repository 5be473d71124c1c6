"""A client's side of the federation: it joins, carries out orders, and keeps its data to itself."""
