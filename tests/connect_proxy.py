"""A small real HTTP proxy that knows CONNECT only, as hospitals have one."""

import asyncio
import threading
from dataclasses import dataclass, field


@dataclass
class ConnectProxy:
    """Listens on the loopback; notes who was asked for, and with which password."""

    password: str = ""  # what Proxy-Authorization must be; empty: nothing
    port: int = 0
    asked: list[str] = field(default_factory=list)
    moved: int = 0  # bytes from hospital to coordinator

    def start(self) -> "ConnectProxy":
        """Serve in a thread of its own until the tests end."""
        ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True).start()
        assert ready.wait(10)
        return self

    @property
    def url(self) -> str:
        """For HTTPS_PROXY."""
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, ready: threading.Event) -> None:
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await server.serve_forever()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split(" ", 2)
        self.asked.append(target)
        if method != "CONNECT" or self.password not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            writer.close()
            return
        host, _, port = target.rpartition(":")
        try:
            far_reader, far_writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except OSError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            writer.close()
            return
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(
            self._copy(reader, far_writer, counts=True), self._copy(far_reader, writer)
        )

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counts: bool = False
    ) -> None:
        try:
            while content := await reader.read(65536):
                self.moved += len(content) if counts else 0
                writer.write(content)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
