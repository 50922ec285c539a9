"""Recordings: files and records in, model out (docs/recording.md is the contract with the writer).

Standard library only, since the watched process decodes its own records with the same `Decoder`.
"""

from __future__ import annotations

from loopwatch.recording.decoder import Decoder
from loopwatch.recording.files import ProcessFiles, Recording, find_recordings, read_process, recording_at

__all__ = ["Decoder", "ProcessFiles", "Recording", "find_recordings", "read_process", "recording_at"]
