"""A proxy that takes CONNECT, for tests of what goes through one and what it gets to see."""

from __future__ import annotations

import contextlib
import socket
import threading


@contextlib.contextmanager
def run_tunnel(answer=b"HTTP/1.1 200 Connection established\r\n\r\n"):
    """A proxy that takes CONNECT and passes bytes on; ``heads`` are the requests it saw."""
    heads = []
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as stack:

        def pump(a, b):
            with contextlib.suppress(OSError):
                while data := a.recv(65536):
                    b.sendall(data)
            with contextlib.suppress(OSError):
                b.shutdown(socket.SHUT_WR)

        def serve(wire):
            head = b""
            while b"\r\n\r\n" not in head:
                more = wire.recv(65536)
                if not more:
                    return
                head += more
            heads.append(head.decode())
            wire.sendall(answer)
            if b" 200 " not in answer:
                wire.close()
                return
            host, port = head.split()[1].decode().rsplit(":", 1)
            behind = stack.enter_context(socket.create_connection((host, int(port))))
            threading.Thread(target=pump, args=(behind, wire), daemon=True).start()
            pump(wire, behind)

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    wire, _ = listener.accept()
                    stack.callback(wire.close)
                    threading.Thread(target=serve, args=(wire,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", heads
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
