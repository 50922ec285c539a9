"""google's profile.proto, as protobuf knows it: messages with the names, numbers and types of their fields.

From https://github.com/google/pprof/blob/main/proto/profile.proto
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "perftools.profiles"
_MESSAGES = {
    "Profile": """
        1 repeated ValueType sample_type, 2 repeated Sample sample, 3 repeated Mapping mapping,
        4 repeated Location location, 5 repeated Function function, 6 repeated string string_table,
        7 int64 drop_frames, 8 int64 keep_frames, 9 int64 time_nanos, 10 int64 duration_nanos,
        11 ValueType period_type, 12 int64 period, 13 repeated int64 comment, 14 int64 default_sample_type,
        15 int64 doc_url""",
    "ValueType": "1 int64 type, 2 int64 unit",
    "Sample": "1 repeated uint64 location_id, 2 repeated int64 value, 3 repeated Label label",
    "Label": "1 int64 key, 2 int64 str, 3 int64 num, 4 int64 num_unit",
    "Mapping": """
        1 uint64 id, 2 uint64 memory_start, 3 uint64 memory_limit, 4 uint64 file_offset, 5 int64 filename,
        6 int64 build_id, 7 bool has_functions, 8 bool has_filenames, 9 bool has_line_numbers,
        10 bool has_inline_frames""",
    "Location": "1 uint64 id, 2 uint64 mapping_id, 3 uint64 address, 4 repeated Line line, 5 bool is_folded",
    "Line": "1 uint64 function_id, 2 int64 line, 3 int64 column",
    "Function": "1 uint64 id, 2 int64 name, 3 int64 system_name, 4 int64 filename, 5 int64 start_line",
}
_Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "int64": _Field.TYPE_INT64,
    "uint64": _Field.TYPE_UINT64,
    "bool": _Field.TYPE_BOOL,
    "string": _Field.TYPE_STRING,
}


def _profile() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="profile.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for words in (field.split() for field in fields.split(",")):
            number, *repeated, kind, called = words
            field = message.field.add(name=called, number=int(number))
            field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            field.type = _TYPES.get(kind, _Field.TYPE_MESSAGE)
            if kind not in _TYPES:
                field.type_name = f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Profile"))


Profile = _profile()
