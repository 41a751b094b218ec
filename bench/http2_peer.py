"""An HTTP/2 client that writes its own frames, for what no gRPC client does: flood, reset, stay silent."""

import socket
import threading
from collections import Counter
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import hpack
from hyperframe.frame import DataFrame, Frame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame

GENERATE: Final = "/fantasia.v1.GenerationService/Generate"
CHECK: Final = "/grpc.health.v1.Health/Check"
STREAM: Final = "/fantasia.v1.GenerationService/StreamGenerate"
WATCH: Final = "/grpc.health.v1.Health/Watch"
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_HEADER_BYTES: Final = 9
_FRAME_BYTES: Final = 16_384
_CANCEL: Final = 8  # RFC 9113, section 7


class Http2Peer:
    """One connection. A thread reads all frames, so that the server can always write.

    Args:
        address: `HOST:PORT` of the server.
        answers_pings: whether PING frames are answered, as RFC 9113 demands.
        silent: never write a byte.
        window: bytes that the server may send on a stream; the default is more than any answer needs.
    """

    def __init__(
        self, address: str, *, answers_pings: bool = True, silent: bool = False, window: int = (1 << 31) - 1
    ) -> None:
        host, _, port = address.rpartition(":")
        self.came: Counter[str] = Counter()
        """Number of frames received, by class name."""
        self.closed = threading.Event()
        """Set when the server has closed the connection."""
        self.concurrent_streams: int | None = None
        """Maximum number of concurrent streams in the server's SETTINGS frame."""
        self.ended: set[int] = set()
        """Streams that the server has ended."""
        self._stream_window = 65_535  # RFC 9113, section 6.9.2
        self._windows: Counter[int] = Counter({0: 65_535})  # bytes that may be sent, by stream; 0 is the connection
        self._begun: Counter[int] = Counter()  # bytes of a body sent, by stream
        self._answers_pings = answers_pings
        self._silent = silent
        self._authority = address.encode()
        self._next_stream = 1
        self._socket = socket.create_connection((host, int(port)), timeout=30)
        self._writing = threading.Lock()
        if not silent:
            settings = SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: window})
            self.send(_PREFACE + settings.serialize())
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, data: bytes) -> None:
        """Write bytes as they are.

        Raises:
            OSError: the server has closed the connection.
        """
        with self._writing:
            self._socket.sendall(data)

    def headers(self, count: int, path: str = GENERATE) -> list[tuple[int, bytes]]:
        """New streams: the id of each, and the frame that opens it without ending it."""
        fields = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path.encode()),
            (b":authority", self._authority),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        ]
        encoder = hpack.Encoder()
        encoder.header_table_size = 0  # the bytes are the same for every stream, in any order
        encoder.encode([])  # sends the table size once
        block = encoder.encode(fields)
        first, self._next_stream = self._next_stream, self._next_stream + 2 * count
        ids = range(first, self._next_stream, 2)
        return [(stream, HeadersFrame(stream, block, flags=["END_HEADERS"]).serialize()) for stream in ids]

    def open(self, count: int, path: str = GENERATE) -> list[int]:
        """Open streams without a body, and return their ids."""
        streams = self.headers(count, path)
        self.send(b"".join(frame for _, frame in streams))
        return [stream for stream, _ in streams]

    def call(self, message: bytes, path: str = GENERATE) -> int:
        """Send a whole request, and return the stream's id."""
        ((stream, opening),) = self.headers(1, path)
        body = b"\0" + len(message).to_bytes(4, "big") + message
        self.send(opening + DataFrame(stream, body, flags=["END_STREAM"]).serialize())
        return stream

    def send_bodies(self, streams: list[int], length: int) -> int:
        """Send a message of `length` bytes on each stream, as far as the windows allow and without its last 5 bytes.

        Returns:
            How many bytes were sent.
        """
        sent = 0
        for stream in streams:
            begun = self._begun[stream]
            head = b"" if begun else b"\0" + length.to_bytes(4, "big")
            window = min(self._stream_window + self._windows[stream], self._windows[0])
            room = min(window, length - begun, _FRAME_BYTES)
            if room > len(head) and stream not in self.ended:
                self._begun[stream] += room
                self._windows[stream] -= room
                self._windows[0] -= room
                self.send(DataFrame(stream, head.ljust(room, b"x")).serialize())
                sent += room
        return sent

    def open_and_reset(self, count: int, path: str = GENERATE) -> None:
        """Open streams and reset each at once: the rapid reset of CVE-2023-44487."""
        frames = (frame + RstStreamFrame(stream, _CANCEL).serialize() for stream, frame in self.headers(count, path))
        self.send(b"".join(frames))

    def _read(self) -> None:
        buffer = b""
        try:
            while data := self._socket.recv(1 << 16):
                buffer = self._take(buffer + data)
        except OSError:
            pass
        self.closed.set()

    def _take(self, buffer: bytes) -> bytes:
        """Handle the complete frames, and return the remaining bytes."""
        at = 0
        while len(buffer) - at >= _FRAME_HEADER_BYTES:
            frame, length = Frame.parse_frame_header(memoryview(buffer)[at : at + _FRAME_HEADER_BYTES])
            end = at + _FRAME_HEADER_BYTES + length
            if len(buffer) < end:
                break
            frame.parse_body(memoryview(buffer)[at + _FRAME_HEADER_BYTES : end])
            self._handle(frame)
            at = end
        return buffer[at:]

    def _handle(self, frame: Frame) -> None:
        self.came[type(frame).__name__] += 1
        if isinstance(frame, WindowUpdateFrame):
            self._windows[frame.stream_id] += frame.window_increment
        if "END_STREAM" in frame.flags or isinstance(frame, RstStreamFrame):
            self.ended.add(frame.stream_id)
        if "ACK" in frame.flags or self._silent:
            return
        if isinstance(frame, SettingsFrame):
            self._stream_window = frame.settings.get(SettingsFrame.INITIAL_WINDOW_SIZE, self._stream_window)
            self.concurrent_streams = frame.settings.get(SettingsFrame.MAX_CONCURRENT_STREAMS)
            self._answer(SettingsFrame(0, flags=["ACK"]))
        elif isinstance(frame, PingFrame) and self._answers_pings:
            self._answer(PingFrame(0, frame.opaque_data, flags=["ACK"]))

    def _answer(self, frame: Frame) -> None:
        with self._writing:
            self._socket.sendall(frame.serialize())

    def close(self) -> None:
        """Close the connection."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # otherwise the reading thread keeps the connection
        self._reader.join()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
