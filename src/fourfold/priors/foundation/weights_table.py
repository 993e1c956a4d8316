"""Every learned model an adapter can use: one row each with its files, where they come from, how large they are and under which licence.

Sizes are those of the parameters (4 bytes each, half of that where the file is in half precision) as the sources state them, rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

HUB = "https://huggingface.co"
TORCH = "https://download.pytorch.org/models"
TAPNET = "https://storage.googleapis.com/dm-tapnet"

CC_BY_NC = "CC-BY-NC-4.0, not for commercial use"
CC_BY_NC_SA = "CC-BY-NC-SA-4.0, not for commercial use"
APACHE = "Apache-2.0"
TORCHVISION = "BSD-3-Clause (code); trained on data for research"


@dataclass(frozen=True)
class File:
    """One file of a model.

    Attributes:
        names: what it is called; a file of any of these names serves, the first one is what `get` writes.
        url: where it is, empty if the model's hub repository has it under its first name.
        sha256: hexadecimal SHA-256 or its first digits, empty where nobody publishes it.
    """

    names: tuple[str, ...]
    url: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Model:
    """One learned model.

    Attributes:
        name: what `fourfold weights` and the adapters call it.
        makes: what it is for, one word or two.
        files: all of them are needed.
        hub: Hugging Face repository, empty if it is not there.
        megabytes: size of all files, 1e6 bytes; 0 where the source does not state it.
        licence: of the weights.
        package: Python package that must be importable to run it, empty if torch is enough.
        install: how to get that package.
        source: page or paper.
    """

    name: str
    makes: str
    files: tuple[File, ...]
    hub: str
    megabytes: int
    licence: str
    package: str
    install: str
    source: str


def _transformers(name: str, makes: str, hub: str, megabytes: int, licence: str, *more: str, weights: str = "model.safetensors") -> Model:
    """A model in the layout of `transformers`: config.json, the weights, and the files `more`."""
    other = "pytorch_model.bin" if weights == "model.safetensors" else "model.safetensors"
    files = (File(("config.json",)), File((weights, other)), *(File((m,)) for m in more))
    install = "pip install 'fourfold[foundation]'"
    return Model(name, makes, files, hub, megabytes, licence, "transformers", install, f"{HUB}/{hub}")


def _from_hub(name: str, makes: str, hub: str, megabytes: int, licence: str, package: str, repository: str, *names: str) -> Model:
    """A model that only its research repository can run, its files in a Hugging Face repository."""
    return Model(
        name, makes, tuple(File((n,)) for n in names), hub, megabytes, licence, package, _clone(repository), f"https://github.com/{repository}"
    )


def _from_address(name: str, makes: str, file: File, megabytes: int, licence: str, package: str, repository: str) -> Model:
    """A model whose one file has an address of its own, or none (`file.url` empty: to be fetched by hand from the repository's page)."""
    install = _clone(repository) if package else ""
    return Model(name, makes, (file,), "", megabytes, licence, package, install, f"https://github.com/{repository}")


def _backbone(network: str, file: str, digits: str, megabytes: int) -> Model:
    name = f"lpips-{network}"
    there = File((f"{file}-{digits}.pth",), f"{TORCH}/{file}-{digits}.pth", digits)
    return Model(name, "LPIPS backbone", (there,), "", megabytes, TORCHVISION, "torchmetrics", "pip install torchmetrics", "arXiv:1801.03924")


def _clone(repository: str) -> str:
    return f"clone https://github.com/{repository} and install it, or put its folder on PYTHONPATH"


_COTRACKER = ("facebook/cotracker3", 102, CC_BY_NC, "cotracker", "facebookresearch/co-tracker")
_DA2 = "depth-anything/Depth-Anything-V2"
_DA3 = ("depth_anything_3", "ByteDance-Seed/Depth-Anything-3", "config.json", "model.safetensors")
_DUST3R = ("config.json", "model.safetensors")

MODELS: tuple[Model, ...] = (
    _from_hub("cotracker3-offline", "tracks2d", *_COTRACKER, "scaled_offline.pth"),
    _from_hub("cotracker3-online", "tracks2d", *_COTRACKER, "scaled_online.pth"),
    _from_address(
        "tapir",
        "tracks2d",
        File(("tapir_checkpoint_panning.pt",), f"{TAPNET}/tapir_checkpoint_panning.pt"),
        118,
        APACHE,
        "tapnet",
        "google-deepmind/tapnet",
    ),
    _from_address(
        "bootstapir",
        "tracks2d",
        File(("bootstapir_checkpoint_v2.pt",), f"{TAPNET}/bootstap/bootstapir_checkpoint_v2.pt"),
        218,
        APACHE,
        "tapnet",
        "google-deepmind/tapnet",
    ),
    _from_hub("tapip3d", "tracks3d", "zbww/tapip3d", 0, "none stated", "models/point_tracker_3d.py", "zbw001/TAPIP3D", "tapip3d_final.pth"),
    _from_hub("mvtracker", "tracks3d", "ethz-vlg/mvtracker", 0, APACHE, "mvtracker", "ethz-vlg/mvtracker", "mvtracker_200000_june2025.pth"),
    _from_address("spatialtracker", "tracks3d", File(("spaT_final.pth",)), 0, CC_BY_NC, "models/spatracker/predictor.py", "henry123-boy/SpaTracker"),
    _transformers("depth-anything-v2-small", "disparity", f"{_DA2}-Small-hf", 99, APACHE),
    _transformers("depth-anything-v2-base", "disparity", f"{_DA2}-Base-hf", 390, CC_BY_NC),
    _transformers("depth-anything-v2-large", "disparity", f"{_DA2}-Large-hf", 1341, CC_BY_NC),
    _transformers("depth-anything-v2-metric-indoor-small", "depth", f"{_DA2}-Metric-Indoor-Small-hf", 99, APACHE),
    _transformers("depth-anything-v2-metric-outdoor-small", "depth", f"{_DA2}-Metric-Outdoor-Small-hf", 99, APACHE),
    _from_hub("depth-anything-3-small", "depth, cameras", "depth-anything/DA3-SMALL", 104, APACHE, *_DA3),
    _from_hub("depth-anything-3-base", "depth, cameras", "depth-anything/DA3-BASE", 480, APACHE, *_DA3),
    _from_hub("depth-anything-3-large", "depth, cameras", "depth-anything/DA3-LARGE-1.1", 1400, CC_BY_NC, *_DA3),
    _from_hub("depth-anything-3-mono", "depth", "depth-anything/DA3MONO-LARGE", 1400, APACHE, *_DA3),
    _from_hub("depth-anything-3-metric", "depth", "depth-anything/DA3METRIC-LARGE", 1400, APACHE, *_DA3),
    _from_hub("unidepth-v2-small", "depth", "lpiccinelli/unidepth-v2-vits14", 136, CC_BY_NC, "unidepth", "lpiccinelli-eth/UniDepth", *_DUST3R),
    _from_hub("unidepth-v2-large", "depth", "lpiccinelli/unidepth-v2-vitl14", 1416, CC_BY_NC, "unidepth", "lpiccinelli-eth/UniDepth", *_DUST3R),
    _from_hub("moge-2-small", "pointmaps", "Ruicheng/moge-2-vits-normal", 140, "MIT", "moge", "microsoft/MoGe", "model.pt"),
    _from_hub("moge-2-large", "pointmaps", "Ruicheng/moge-2-vitl", 1304, "MIT", "moge", "microsoft/MoGe", "model.pt"),
    _from_hub("dust3r", "pointmaps", "naver/DUSt3R_ViTLarge_BaseDecoder_512_dpt", 2285, CC_BY_NC_SA, "dust3r", "naver/dust3r", *_DUST3R),
    _from_hub(
        "monst3r", "pointmaps", "Junyi42/MonST3R_PO-TA-S-W_ViTLarge_BaseDecoder_512_dpt", 2285, CC_BY_NC_SA, "dust3r", "Junyi42/monst3r", *_DUST3R
    ),
    _from_hub(
        "mast3r",
        "pointmaps, matches",
        "naver/MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric",
        2755,
        CC_BY_NC_SA,
        "mast3r",
        "naver/mast3r",
        *_DUST3R,
    ),
    _from_address("gim-dkm", "matches", File(("gim_dkm_100h.ckpt",)), 0, "MIT; stated for research", "networks/dkm/models/dkm.py", "xuelunshen/gim"),
    _transformers("dinov2-registers-small", "features", "facebook/dinov2-with-registers-small", 88, APACHE),
    _transformers("dinov2-registers-base", "features", "facebook/dinov2-with-registers-base", 346, APACHE),
    _transformers("sam2-tiny", "masks", "facebook/sam2.1-hiera-tiny", 156, APACHE),
    _transformers("sam2-small", "masks", "facebook/sam2.1-hiera-small", 184, APACHE),
    _transformers("sam2-large", "masks", "facebook/sam2.1-hiera-large", 898, APACHE),
    _transformers(
        "clip-base-32", "CLIP-I, CLIP-T", "openai/clip-vit-base-patch32", 606, "MIT", "vocab.json", "merges.txt", weights="pytorch_model.bin"
    ),
    _backbone("alex", "alexnet-owt", "7be5be79", 245),
    _backbone("vgg", "vgg16", "397923af", 554),
    _backbone("squeeze", "squeezenet1_1", "b8a52dc0", 5),
    Model(
        "raft-small",
        "flow",
        (File(("raft_small_C_T_V2-01064c6d.pth", "raft-small.pth"), f"{TORCH}/raft_small_C_T_V2-01064c6d.pth", "01064c6d"),),
        "",
        4,
        TORCHVISION,
        "",
        "",
        "arXiv:2003.12039",
    ),
    Model(
        "xfeat",
        "matches",
        (File(("xfeat.onnx",)),),
        "",
        3,
        "Apache-2.0 (network), MPL-2.0 (export)",
        "onnxruntime",
        "pip install onnxruntime",
        "https://github.com/verlab/accelerated_features",
    ),
    _from_address(
        "aliked",
        "matches",
        File(("aliked-n16.pth",), "https://github.com/Shiaoming/ALIKED/raw/main/models/aliked-n16.pth"),
        3,
        "BSD-3-Clause",
        "",
        "Shiaoming/ALIKED",
    ),
)
