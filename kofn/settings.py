"""Settings files: YAML into pydantic models, with errors that name file, line and field.

Reads and checks; decides no value. Whether unknown keys are refused is the model's own choice
(`extra="forbid"`); where they are, the error names the nearest known one. Files may come from
strangers: only plain YAML is constructed, and a file that unfolds beyond reason is refused.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError
from pydantic_core import ErrorDetails

from kofn.wire.tls import Tls

ModelT = TypeVar("ModelT", bound=BaseModel)
Problem = tuple[Sequence[int | str], str]  # where in the values, and what is wrong there

MOST_NODES = 100_000  # with every alias unfolded; ten lines of aliases can unfold to 10^10 nodes
MERGE = "tag:yaml.org,2002:merge"  # the key `<<`, which is no value
MISSING = "must be given."
LONGEST_VALUE = 80  # characters of a refused value that an error repeats


TLS_KEYS = ("folder", "certificate", "key", "authority", "peer_name")


def _tls(value: object) -> object:
    if isinstance(value, str | Path):
        return Tls.in_folder(Path(value))
    if not isinstance(value, dict):
        return value
    if unknown := sorted(value.keys() - set(TLS_KEYS), key=str):
        raise ValueError(f"{unknown[0]!r} is no key here; accepted: {', '.join(TLS_KEYS)}.")
    if "folder" not in value:
        return value
    if value.keys() - {"folder", "peer_name"}:
        raise ValueError("must have 'folder', or its files one by one, not both.")
    return Tls.in_folder(Path(str(value["folder"])), value.get("peer_name"))


def _with_certificate(tls: Tls) -> Tls:
    if tls.certificate is None:
        raise ValueError("must have a certificate and its key: whoever listens shows one.")
    return tls


# A folder, or a mapping of TLS_KEYS; the files are read and checked at once.
TlsFiles = Annotated[Tls, BeforeValidator(_tls)]
ServerTlsFiles = Annotated[TlsFiles, AfterValidator(_with_certificate)]
MessageMb = Annotated[int, Field(ge=4, le=2047)]  # in 2^20 bytes; protobuf's own limit is 2^31


class SettingsError(ValueError):
    """A settings file is wrong: one line a problem, each `FILE:LINE: field.path: what is wrong`."""


def read_yaml(path: Path, model: type[ModelT]) -> ModelT:
    """Read a file into a model.

    Raises:
        SettingsError: the file cannot be read, or as of `parse_yaml`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: must be UTF-8 text: {error.reason}") from error
    return parse_yaml(text, model, source=str(path))


def parse_yaml(text: str, model: type[ModelT], source: str = "settings") -> ModelT:
    """Parse a text into a model; an empty text is an empty mapping.

    Args:
        text: one YAML document.
        model: a pydantic model.
        source: what errors call the text: a file's name, or "deployment".

    Raises:
        SettingsError: no YAML, a key given twice, or a value that the model refuses.
    """
    node, values = _load(text, source)
    if node is None or values is None:
        node, values = None, {}
    if not isinstance(values, dict):
        raise SettingsError(f"{source}:{_line(node)}: must be a mapping of keys to values.")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _located(node, source, problems(error, model)) from error


def problems(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """What a model refused, and where in its values."""
    return [(item["loc"], _told(item, model)) for item in error.errors()]


def located(text: str, source: str, found: Iterable[Problem]) -> SettingsError:
    """Problems of a text that were found later, by their lines; arguments as of `parse_yaml`."""
    node, _ = _load(text, source)
    return _located(node, source, found)


def check(values: Mapping[str, Any], model: type[ModelT], source: str) -> ModelT:
    """A model of values that were laid over each other, and so have no lines any more.

    Raises:
        SettingsError: field by field what is wrong; `source` says where they came from.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [
            f"{source}: {'.'.join(map(str, item['loc']))}: {_told(item, model)}"
            for item in error.errors()
        ]
        raise SettingsError("\n".join(lines)) from error


def _load(text: str, source: str) -> tuple[yaml.Node | None, object]:
    """The node tree, which knows lines, and the plain values."""
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None, None
            _check_node(node, loader, source, {})
            return node, loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise SettingsError(f"{source}:{line}: must be YAML: {said}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SettingsError(f"{source}:{line}: must be YAML: {error.reason}") from error
    except RecursionError as error:
        raise SettingsError(f"{source}:1: is nested too deeply.") from error


def _check_node(
    node: yaml.Node, loader: yaml.SafeLoader, source: str, sizes: dict[int, int]
) -> int:
    """Refuse what YAML lets pass and nobody means; return the number of nodes, aliases unfolded.

    `sizes` holds the number of each node seen, 0 while its children are being counted.
    """
    known = sizes.get(id(node))
    if known is not None:
        if known == 0:
            raise SettingsError(f"{source}:{_line(node)}: must not contain itself.")
        return known
    sizes[id(node)] = 0
    size = 1
    if isinstance(node, yaml.MappingNode):
        first: dict[tuple[str, Any], yaml.Node] = {}
        for key, value in node.value:
            name = (key.tag, key.value if isinstance(key, yaml.ScalarNode) else id(key))
            if name in first:
                raise SettingsError(
                    f"{source}:{_line(key)}: {name[1]}: must be given once; "
                    f"it stands in line {_line(first[name])} already."
                )
            first[name] = key
            size += _check_node(key, loader, source, sizes)
            size += _check_node(value, loader, source, sizes)
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_check_node(item, loader, source, sizes) for item in node.value)
    elif node.tag != MERGE:
        try:  # here and not with the whole document, where the line would be lost
            loader.construct_object(node)
        except ValueError as error:
            raise SettingsError(
                f"{source}:{_line(node)}: must be a value that YAML can read: {error}"
            ) from error
    if size > MOST_NODES:
        raise SettingsError(
            f"{source}:{_line(node)}: must unfold to at most {MOST_NODES} values, not {size}."
        )
    sizes[id(node)] = size
    return size


def _located(node: yaml.Node | None, source: str, found: Iterable[Problem]) -> SettingsError:
    lines = set()
    for where, told in found:
        line, parts = _follow(node, where)
        if told == MISSING:
            parts.append(where[-1])
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
        lines.add((line, f"{path.lstrip('.')}: {told}" if path else told))
    return SettingsError("\n".join(f"{source}:{line}: {told}" for line, told in sorted(lines)))


def _follow(node: yaml.Node | None, where: Sequence[int | str]) -> tuple[int, list[int | str]]:
    """The line of a place, and its parts that stand in the file.

    Parts that do not (a missing key, the kind of a union's member) are passed over.
    """
    line, found = _line(node), list[int | str]()
    for part in where:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value == str(part):
                    line, node = _line(key), value
                    found.append(part)
                    break
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = _line(node)
            found.append(part)
    return line, found


def _told(error: ErrorDetails, model: type[BaseModel]) -> str:
    """What is wrong and what is accepted."""
    context = error.get("ctx", {})
    match error["type"]:
        case "missing":
            return MISSING
        case "extra_forbidden":
            known = _known_keys(model, error["loc"][:-1])
            near = get_close_matches(str(error["loc"][-1]), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            return f"is no key here{hint}; accepted: {', '.join(known)}."
        case "literal_error" | "enum":
            return f"must not be {_shown(error['input'])}; accepted: {context['expected']}."
        case "union_tag_invalid":
            return f"must not be {context['tag']!r}; accepted: {context['expected_tags']}."
        case "value_error" | "assertion_error":
            return str(context["error"])
        case _:
            wanted = error["msg"].replace("Input should be", "must be")
            return f"{wanted}, not {_shown(error['input'])}."


def _known_keys(model: type[BaseModel], where: Sequence[int | str]) -> list[str]:
    """Keys accepted at a place, those of all models that may stand there."""
    models = {model}
    for part in where:
        fields = [field for each in models if (field := _fields(each).get(str(part)))]
        inner = {found for field in fields for found in _models_in(field.annotation)}
        # Other parts are an index, a key of a dictionary, or the kind of a union's member.
        models = inner or {each for each in models if _is_kind(each, part)} or models
    return sorted({name for each in models for name in _fields(each)})


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and get_origin(annotation) is None:
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _is_kind(model: type[BaseModel], part: int | str) -> bool:
    """Whether pydantic calls this member of a union `part`: by its class or by its tag."""
    tags = [
        tag
        for field in model.model_fields.values()
        if get_origin(field.annotation) is Literal
        for tag in get_args(field.annotation)
    ]
    return part == model.__name__ or part in tags


def _line(node: yaml.Node | None) -> int:
    return 1 if node is None else int(node.start_mark.line) + 1


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
