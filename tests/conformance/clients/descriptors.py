"""Prints the messages and services of a compiled protocol as JSON, in any environment.

Usage: descriptors.py MODULE. A field is told as [name, type, is_repeated, message or enum].
"""

import importlib
import json
import sys


def fields_of(message):
    """Fields by number; text, since JSON has no other keys."""
    return {str(field.number): field_of(field) for field in message.fields}


def field_of(field):
    """What must agree for two sides to understand each other."""
    # `is_repeated` is new, and `label` is gone from where it is.
    repeated = field.is_repeated if hasattr(field, "is_repeated") else field.label == 3
    kind = field.message_type or field.enum_type
    return [field.name, field.type, bool(repeated), kind.full_name if kind else None]


def messages_of(holder, found):
    """All messages, nested ones too, by full name."""
    for message in holder:
        found[message.full_name] = fields_of(message)
        messages_of(message.nested_types, found)
    return found


def method_of(method):
    """What a method takes and gives, and which of them are streams."""
    taken, given = method.input_type.full_name, method.output_type.full_name
    return [taken, given, method.client_streaming, method.server_streaming]


def described(file):
    """A file's messages, enums and services."""
    return {
        "messages": messages_of(file.message_types_by_name.values(), {}),
        "enums": {
            enum.full_name: {value.name: value.number for value in enum.values}
            for enum in file.enum_types_by_name.values()
        },
        "methods": {
            method.full_name: method_of(method)
            for service in file.services_by_name.values()
            for method in service.methods
        },
    }


def main():
    """Of the module and of the files of its package that it imports."""
    file = importlib.import_module(sys.argv[1]).DESCRIPTOR
    told = {"messages": {}, "enums": {}, "methods": {}}
    for each in (*file.dependencies, file):
        for kind, found in described(each).items():
            told[kind].update(found)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
