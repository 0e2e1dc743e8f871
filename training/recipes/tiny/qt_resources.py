"""Files inside a Qt binary resource (.rcc), the format in which Qt applications keep their pictures."""

import struct
import zlib
from collections.abc import Iterator


def qt_resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """
    Gives the files inside a Qt binary resource, as (path, content).

    The format is three tables: a tree of fixed-size nodes, names in UTF-16, and contents with a length before each.
    Entries compressed with zstd, which pictures are not, are left out.

    Raises:
        ValueError: it is no such resource.
    """
    if data[:4] != b"qres":
        raise ValueError(f"data must be a Qt binary resource, which begins with b'qres', got {data[:4]!r}")
    version, tree, contents, names = struct.unpack_from(">4I", data, 4)
    node_size = 22 if version >= 2 else 14  # version 2 added a time stamp to each node
    stack = [(0, "")]
    while stack:
        index, parent = stack.pop()
        node = tree + index * node_size
        name_at, flags = struct.unpack_from(">IH", data, node)
        path = parent
        if index:  # the root has no name
            (length,) = struct.unpack_from(">H", data, names + name_at)
            start = names + name_at + 6
            path = f"{parent}/{data[start : start + 2 * length].decode('utf-16-be')}"
        if flags & 2:  # a folder
            count, first = struct.unpack_from(">2I", data, node + 6)
            stack.extend((child, path) for child in range(first, first + count))
        elif not flags & 4:
            (content_at,) = struct.unpack_from(">I", data, node + 10)
            (length,) = struct.unpack_from(">I", data, contents + content_at)
            start = contents + content_at + 4
            content = data[start : start + length]
            yield path, zlib.decompress(content[4:]) if flags & 1 else content
