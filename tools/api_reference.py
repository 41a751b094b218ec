"""Writes the API reference from the contract's comments: `python -m tools.api_reference PAGE`; `make proto` calls it.

PAGE is a Markdown page with the region of `REGION`; `docs/api.md` is the committed one. The page shows every method,
message, field and enum of every `.proto` file, each with its leading comment, and the errors of a service as a table.
The comment of a service lists an error in this form:

    - NAME: when the server returns it. Details: messages that it carries. Do: what the caller can do.

NAME is a gRPC status code, or several with commas between them.
"""

import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import grpc_tools
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from grpc_tools import protoc

from report import Region, render_template

PROTO: Final = Path(__file__).resolve().parents[1] / "proto"
_STANDARD: Final = Path(grpc_tools.__file__).parent / "_proto"
"""Where protoc finds `google/protobuf/`."""
REGION: Final = Region("reference", command="make proto")

# Field numbers in descriptor.proto. Comments are found by paths of these numbers and indices.
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
_FIELDS, _NESTED_MESSAGES, _NESTED_ENUMS, _ONEOFS = 2, 3, 4, 8
_VALUES, _METHODS = 2, 2

Row = tuple[str, ...]
"""Cells of a Markdown table."""

_CODES: Final = "|".join(code.name for code in grpc.StatusCode)
_ITEM: Final = re.compile(rf"^- (?P<codes>(?:{_CODES})(?:, (?:{_CODES}))*): (?P<text>.*(?:\n  .*)*)\n?", re.MULTILINE)
_PARTS: Final = re.compile(r"(?P<when>.+) Details: (?P<details>.+) Do: (?P<do>.+)")


class ContractError(ValueError):
    """The contract cannot be read, or lists an error without one of its parts."""


@dataclass(frozen=True, slots=True)
class Method:
    """An rpc."""

    name: str
    path: str
    """The `:path` of its HTTP/2 requests."""
    signature: str
    """Request and response as links, and which of them are streams."""
    prose: str


@dataclass(frozen=True, slots=True)
class Service:
    """A service, with its errors apart from the rest of its comment."""

    name: str
    before: str
    """Its comment up to the list of errors."""
    errors: tuple[Row, ...]
    """Status codes, when, details, what to do."""
    after: str
    methods: tuple[Method, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A message or an enum."""

    name: str
    prose: str
    choices: tuple[str, ...]
    """One sentence for every `oneof`."""
    header: Row
    rows: tuple[Row, ...]
    """Fields or values."""


def contract(proto: Path = PROTO) -> list[FileDescriptorProto]:
    """Every parsed `.proto` file below a folder, comments included, in the order of their names.

    Raises:
        ContractError: protoc cannot read them. It prints why on stderr.
    """
    sources = sorted(str(path.relative_to(proto)) for path in proto.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "contract.binpb"
        options = [
            f"--proto_path={proto}",
            f"--proto_path={_STANDARD}",
            "--include_source_info",
            f"--descriptor_set_out={out}",
        ]
        if protoc.main(["protoc", *options, *sources]) != 0:
            raise ContractError(f"protoc cannot read the contract in {proto}")
        return list(FileDescriptorSet.FromString(out.read_bytes()).file)


def reference(files: list[FileDescriptorProto]) -> str:
    """The region's Markdown: services, then messages, then enums, each in the order of the files.

    Raises:
        ContractError: the comment of a service lists an error without one of its parts.
    """
    pages = [_Page(file, _fields(files)) for file in files]
    template = Path(__file__).with_name("api_reference.md.jinja")
    return render_template(
        template,
        services=[service for page in pages for service in page.services()],
        messages=[message for page in pages for message in page.messages()],
        enums=[enum for page in pages for enum in page.enums()],
    )


class _Page:
    """What one file contributes."""

    def __init__(self, file: FileDescriptorProto, fields: frozenset[str]) -> None:
        self._file = file
        self._fields = fields
        self._comments = {
            tuple(location.path): location.leading_comments for location in file.source_code_info.location
        }

    def services(self) -> Iterator[Service]:
        for index, service in enumerate(self._file.service):
            before, errors, after = _errors(self._prose(_SERVICES, index))
            errors = tuple(tuple(map(self._linked, row)) for row in errors)
            methods = []
            for position, method in enumerate(service.method):
                arguments = (method.input_type, method.client_streaming), (method.output_type, method.server_streaming)
                request, response = (("stream " if stream else "") + self._link(name) for name, stream in arguments)
                methods.append(
                    Method(
                        name=method.name,
                        path=f"/{self._file.package}.{service.name}/{method.name}",
                        signature=f"{request} → {response}",
                        prose=self._linked(self._prose(_SERVICES, index, _METHODS, position)),
                    )
                )
            yield Service(service.name, self._linked(before), errors, self._linked(after), tuple(methods))

    def messages(self) -> Iterator[Section]:
        for name, message, path in self._walk():
            rows = tuple(
                (f"`{field.name}`", self._type(field, message), self._cell(*path, _FIELDS, position))
                for position, field in enumerate(message.field)
            )
            choices = tuple(
                f"`{message.oneof_decl[index].name}` (at most one of {members}): {self._cell(*path, _ONEOFS, index)}"
                for index, members in _oneofs(message)
            )
            yield Section(name, self._linked(self._prose(*path)), choices, ("field", "type", "meaning"), rows)

    def enums(self) -> Iterator[Section]:
        for name, enum, path in self._all_enums():
            rows = tuple(
                (f"`{value.name}`", str(value.number), self._cell(*path, _VALUES, position))
                for position, value in enumerate(enum.value)
            )
            yield Section(name, self._linked(self._prose(*path)), (), ("value", "number", "meaning"), rows)

    def _walk(self) -> Iterator[tuple[str, DescriptorProto, tuple[int, ...]]]:
        """Every message with its name within the package and its path; a nested one follows the one around it."""
        for index, message in enumerate(self._file.message_type):
            yield from _walk(message.name, message, (_MESSAGES, index))

    def _all_enums(self) -> Iterator[tuple[str, EnumDescriptorProto, tuple[int, ...]]]:
        for index, enum in enumerate(self._file.enum_type):
            yield enum.name, enum, (_ENUMS, index)
        for name, message, path in self._walk():
            for index, enum in enumerate(message.enum_type):
                yield f"{name}.{enum.name}", enum, (*path, _NESTED_ENUMS, index)

    def _prose(self, *path: int) -> str:
        """A comment as Markdown; the empty line at its end and the space after `//` are left out."""
        lines = self._comments.get(path, "").splitlines()
        return "\n".join(line.removeprefix(" ").rstrip() for line in lines).strip()

    def _cell(self, *path: int) -> str:
        return self._linked(_one_line(self._prose(*path)))

    def _linked(self, prose: str) -> str:
        """The text with a link at every field that is named as `Message.field`."""
        return re.sub(
            r"(?<![`\w.])[A-Z]\w*\.\w+\b",
            lambda name: f"[{name[0]}](#{_anchor(name[0].split('.')[0])})" if name[0] in self._fields else name[0],
            prose,
        )

    def _link(self, full_name: str) -> str:
        """A type of ours as a link to its section, another one by its full name."""
        name = full_name.removeprefix(f".{self._file.package}.")
        return f"`{name.removeprefix('.')}`" if name.startswith(".") else f"[{name}](#{_anchor(name)})"

    def _type(self, field: FieldDescriptorProto, message: DescriptorProto) -> str:
        """The type of a field as the contract writes it."""
        for nested in message.nested_type:
            if nested.options.map_entry and field.type_name.endswith(f".{message.name}.{nested.name}"):
                key, value = nested.field
                return f"map of {self._type(key, nested)} to {self._type(value, nested)}"
        scalar = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
        name = self._link(field.type_name) if field.type_name else scalar
        label = "optional " if field.proto3_optional else ""
        return ("repeated " if field.label == FieldDescriptorProto.LABEL_REPEATED else label) + name


def _walk(
    name: str, message: DescriptorProto, path: tuple[int, ...]
) -> Iterator[tuple[str, DescriptorProto, tuple[int, ...]]]:
    yield name, message, path
    for index, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            yield from _walk(f"{name}.{nested.name}", nested, (*path, _NESTED_MESSAGES, index))


def _fields(files: list[FileDescriptorProto]) -> frozenset[str]:
    """Every field of a top-level message as `Message.field`."""
    messages = [message for file in files for message in file.message_type]
    return frozenset(f"{message.name}.{field.name}" for message in messages for field in message.field)


def _errors(prose: str) -> tuple[str, tuple[Row, ...], str]:
    """The comment of a service before its list of errors, the rows of that list, and the comment after it."""
    items = list(_ITEM.finditer(prose))
    if not items:
        return prose, (), ""
    rows = []
    for item in items:
        parts = _PARTS.fullmatch(_one_line(item["text"]))
        if parts is None:
            raise ContractError(f"the comment on {item['codes']} must have the form: ... Details: ... Do: ...")
        codes = ", ".join(f"`{code}` ({_number(code)})" for code in item["codes"].split(", "))
        rows.append((codes, *(text[0].upper() + text[1:] for text in parts.groups())))
    return prose[: items[0].start()].strip(), tuple(rows), prose[items[-1].end() :].strip()


def _number(code: str) -> int:
    number: int = grpc.StatusCode[code].value[0]
    return number


def _one_line(text: str) -> str:
    """The text as a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def _anchor(name: str) -> str:
    """The anchor that sites and repository hosts give to a heading."""
    return name.replace(".", "").lower()


def _oneofs(message: DescriptorProto) -> Iterator[tuple[int, str]]:
    """The index of every `oneof` of a message, and the names of its fields. `optional` is no `oneof` to readers."""
    for index in range(len(message.oneof_decl)):
        fields = [field for field in message.field if field.HasField("oneof_index") and field.oneof_index == index]
        if not any(field.proto3_optional for field in fields):
            yield index, ", ".join(f"`{field.name}`" for field in fields)


if __name__ == "__main__":
    REGION.write(Path(sys.argv[1]), reference(contract()))
