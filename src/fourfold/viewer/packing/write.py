"""A scene packed for the page: what lasts in one part, what is needed for a time in strands of parts, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch

from fourfold.capture.capture import Capture
from fourfold.scene.courses import layer_course
from fourfold.scene.motion.chunks import Chunks
from fourfold.scene.scene import Scene
from fourfold.viewer.packing.config import PackConfig
from fourfold.viewer.packing.filmed import Reference, cuts, frame_interval, write_film, write_reference
from fourfold.viewer.packing.parts import Part, Source, on_cpu, write_course


@dataclass
class Pack:
    """A packed scene: `lasting` is drawn always, of each of `strands` the part of the moment."""

    lasting: Part
    strands: list[list[Part]]
    config: PackConfig

    def header(self) -> dict[str, Any]:
        """What a reader must know besides the bytes, JSON-able."""
        told = [[part.told() for part in strand] for strand in self.strands]
        return {"tick": self.config.tick, "lasting": self.lasting.told(), "strands": told}

    @property
    def terms(self) -> int:
        """Terms of spherical harmonics, of the Gaussians that have most."""
        return max((s["shape"][1] // 3 for part in self.parts for s in part.block.sections if s["name"].endswith(".shs")), default=0)

    @property
    def parts(self) -> list[Part]:
        """All parts in the order of the page: the lasting one, then strand after strand."""
        return [self.lasting, *(part for strand in self.strands for part in strand)]


def pack(scene: Scene, capture: Capture, config: PackConfig = PackConfig()) -> Pack:
    """`scene` as few bytes; layers in closed form as they are, others by keyframes, films in chunks chunk by chunk."""
    begin, end = (float(t) for t in scene.time_range)
    result = Pack(Part(begin, end), [], config)
    filmed: list[tuple[Source, Reference]] = []
    places = scene.slices()
    with torch.no_grad():
        for number, layer in enumerate(scene.layers):
            source = Source(on_cpu(layer), number, places[layer.name].start, capture, config)
            if isinstance(layer.motion, Chunks):
                result.strands.append(_chunks(source, (begin, end)))
                continue
            course = layer_course(source.layer)
            if course is not None:
                write_course(result.lasting, source, course)
            elif len(layer):
                filmed.append((source, write_reference(result.lasting, source, f"r{number}")))
        if filmed:
            result.strands.append(_film(filmed, (begin, end), capture))
    return result


def _film(filmed: list[tuple[Source, Reference]], span: tuple[float, float], capture: Capture) -> list[Part]:
    """A strand of blocks of keyframes."""
    moments, strand = cuts(span, capture, filmed[0][0].config), list[Part]()
    for begin, end in pairwise(moments):
        strand.append(Part(begin, end))
        for source, reference in filmed:
            write_film(strand[-1], source, reference, frame_interval(capture))
    return strand


def _chunks(source: Source, span: tuple[float, float]) -> list[Part]:
    """A strand of the chunks of a long film; whoever bends in a chunk is filmed within it."""
    motion = source.layer.motion
    assert isinstance(motion, Chunks)
    ends, strand = [*motion.begins[1:], max(span[1], motion.begins[-1])], list[Part]()
    for number, (begin, end) in enumerate(zip(motion.begins, ends, strict=True)):
        inner = replace(source, layer=motion.part(source.layer, number), start=source.start + motion.rows(number).start)
        begin = span[0] if number == 0 else begin
        if end <= span[0] or begin >= span[1] or end <= begin:
            continue
        window = (max(begin, span[0]), min(end, span[1]))
        course = layer_course(inner.layer) if len(inner.layer) else None
        whole = course is not None or not len(inner.layer)
        moments = window if whole else cuts(window, source.capture, source.config)
        for one, two in pairwise(moments):
            strand.append(Part(one, two))
            if course is not None:
                write_course(strand[-1], inner, course)
            elif len(inner.layer):
                reference = write_reference(strand[-1], inner, f"r{source.number}")
                write_film(strand[-1], inner, reference, frame_interval(source.capture))
    return strand
