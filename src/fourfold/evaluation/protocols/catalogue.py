"""The protocols of the field. Images are sRGB, rounded to 8 bit before they are compared; figures are means over images.

Source of all: spec evaluation_and_datasets.md sections 1 and 3, where no other is named.
"""

from __future__ import annotations

from fourfold.errors import FourfoldError
from fourfold.evaluation.protocols.protocol import Measure, Protocol, Region

PSNR = Measure("psnr", "psnr")
SSIM = Measure("ssim", "ssim", "ssim_1")
SSIM_3DGS = Measure("ssim", "ssim", "ssim_1_zeros")
SSIM_2 = Measure("ssim", "ssim", "ssim_2")
LPIPS_ALEX = Measure("lpips", "lpips", "alex")
LPIPS_VGG = Measure("lpips", "lpips", "vgg")
WEIGHT_FREE = (Measure("flip", "flip"), Measure("ms_ssim", "ms_ssim"), Measure("flicker", "flicker"))


def _masked(suffix: str, region: Region) -> tuple[Measure, ...]:
    """DyCheck's three masked figures, and the mask mean of SSIM, which tells small masks apart."""
    return (
        Measure(f"psnr{suffix}", "psnr", "masked", region),
        Measure(f"ssim{suffix}", "ssim", "dycheck", region),
        Measure(f"lpips{suffix}", "lpips", "alex_masked", region),
        Measure(f"ssim{suffix}_mask_mean", "ssim", "mask_mean", region),
    )


LPIPS_MORE = (Measure("lpips_vgg", "lpips", "vgg"), Measure("lpips_raw", "lpips", "alex_raw"), Measure("lpips_vgg_raw", "lpips", "vgg_raw"))
DENSE_RIG = (PSNR, SSIM_2, LPIPS_ALEX, Measure("ssim_1", "ssim", "ssim_1"), *LPIPS_MORE, *WEIGHT_FREE)
CLIP = (Measure("clip_i", "clip_i", "vit-b-32", "box"), Measure("clip_t", "clip_t", "vit-b-32 lag 5", "box"))

PROTOCOLS: tuple[Protocol, ...] = (
    Protocol(
        "plain",
        "Whole held-out images, and moving and still pixels apart",
        "fourfold",
        "the capture's own held-out images",
        (
            PSNR,
            SSIM,
            LPIPS_ALEX,
            Measure("psnr_dynamic", "psnr", "masked", "dynamic"),
            Measure("psnr_static", "psnr", "masked", "static"),
            Measure("ssim_dynamic_mask_mean", "ssim", "mask_mean", "dynamic"),
            Measure("mask_iou", "mask_iou", "0.5", "foreground"),
            *WEIGHT_FREE,
        ),
    ),
    Protocol(
        "synthetic",
        "Generated captures with exact truth",
        "fourfold",
        "held-out cameras of the kind",
        (
            PSNR,
            SSIM,
            LPIPS_ALEX,
            Measure("psnr_dynamic", "psnr", "masked", "dynamic"),
            Measure("psnr_static", "psnr", "masked", "static"),
            Measure("psnr_foreground", "psnr", "masked", "foreground"),
            Measure("mask_iou", "mask_iou", "0.5", "foreground"),
            *WEIGHT_FREE,
        ),
    ),
    Protocol(
        "dycheck_iphone",
        "DyCheck iPhone, co-visible pixels",
        "Gao et al. 2022, section 4",
        "one hand-held training camera, two static test cameras",
        _masked("", "covisible"),
        size=(360, 480),
        covisibility="flow",
    ),
    Protocol(
        "shape_of_motion_iphone",
        "Shape of Motion's iPhone evaluation",
        "Wang et al. 2024; spec shape_of_motion.md",
        "DyCheck's split without space-out and wheel; the last frames of each scene are dropped",
        _masked("", "covisible"),
        size=(360, 480),
        covisibility="flow",
        keypoints=True,
        remarks=(
            "Renders are compared as 8-bit PNGs.",
            "Cameras are those of `camera/`; the published figures have COLMAP's, in metres by colmap/scale.npy.",
        ),
    ),
    Protocol(
        "himor_iphone",
        "HiMoR's iPhone mask: co-visible background and all of the foreground",
        "HiMoR code; spec himor_4dgs360.md section 6",
        "DyCheck's split",
        (*_masked("", "covisible"), *CLIP),
        size=(360, 480),
        covisibility="flow",
        dynamic_is_covisible=True,
        remarks=("CLIP-T compares the model's own renders five entries apart, of the same camera.",),
    ),
    Protocol(
        "iphone360",
        "iPhone360 boxes: foreground on white inside the enlarged box of the true mask",
        "4DGS360 appendix B.1; spec himor_4dgs360.md section 6",
        "one training camera, one or two test cameras, up to 135 degrees apart",
        (
            Measure("psnr", "psnr", "", "box"),
            Measure("ssim", "ssim", "ssim_1", "box"),
            Measure("lpips", "lpips", "alex", "foreground"),
            *CLIP,
            Measure("mask_iou", "mask_iou", "0.5", "foreground"),
        ),
        background="white",
        foreground_only=True,
        remarks=("LPIPS is of the whole image, not the box.",),
    ),
    Protocol(
        "nvidia_rodynrf",
        "NVIDIA Dynamic Scenes as RoDynRF and DynamicNeRF evaluate: camera 0 at every moment",
        "Li et al. 2023; MoSca nvidia_helpers",
        "training image t is of camera t; test camera 0 at all t",
        (PSNR, SSIM, LPIPS_ALEX, *WEIGHT_FREE),
        size=(480, 270),
        remarks=("At t = 0 the held-out image of Balloon1 is the training image; `nvidia_unseen` leaves it out.",),
    ),
    Protocol(
        "nvidia_unseen",
        "NVIDIA Dynamic Scenes without the moment that is trained on",
        "fourfold",
        "as nvidia_rodynrf, without test images that are also trained on",
        (PSNR, SSIM, LPIPS_ALEX, *WEIGHT_FREE),
        size=(480, 270),
        skip_trained=True,
    ),
    Protocol("n3dv", "Neural 3D Video", "Li et al. 2022", "camera 0 tests, the others train", DENSE_RIG, ("cameras:0",), (1352, 1014)),
    Protocol(
        "enerf_outdoor",
        "ENeRF-Outdoor",
        "Lin et al. 2022; FreeTimeGS",
        "camera 08 tests, the others train",
        DENSE_RIG,
        ("cameras:08",),
        (960, 540),
        remarks=("The test camera is FreeTimeGS's; the published tables do not say.",),
    ),
    Protocol("selfcap", "SelfCap", "Xu et al. 2024; spec sharptimegs_freetimegs.md", "the scene's own test camera", DENSE_RIG, size=(1920, 1080)),
    Protocol(
        "exorecon",
        "ExoRecon: training views, whole images and the people",
        "MonoFusion; spec monofusion.md section 9",
        "four fixed cameras, all trained on",
        (PSNR, SSIM, LPIPS_ALEX, *_masked("_dynamic", "foreground"), Measure("mask_iou", "mask_iou", "0.5", "foreground")),
        holdouts=("none",),
        size=(512, 288),
        on_training=True,
        remarks=("The authors' code binarises the rendered mask at 0.9.",),
    ),
    Protocol(
        "exorecon_90",
        "ExoRecon 90-degree views: train on three cameras, test on the fourth, mean of the four folds",
        "MonoFusion; spec monofusion.md section 9",
        "leave one camera out, four times",
        (Measure("psnr", "psnr"), Measure("psnr_dynamic", "psnr", "masked", "foreground"), SSIM, LPIPS_ALEX),
        holdouts=tuple(f"cameras:{number}" for number in range(4)),
        size=(512, 288),
    ),
    Protocol(
        "exorecon_novel_time",
        "ExoRecon novel times: poses half-way between t and t + 2 against the image at t + 1",
        "MonoFusion; spec monofusion.md section 9",
        "every third moment is held out in all cameras",
        (Measure("psnr", "novel_time", "linear and slerp"), Measure("psnr_dynamic", "novel_time", "linear and slerp", "foreground")),
        holdouts=("moments:3",),
        size=(512, 288),
        remarks=("The authors' code trains on the moments it asks for; here they are novel.",),
    ),
    Protocol(
        "exorecon_45",
        "ExoRecon 45-degree views: to look at, without truth",
        "MonoFusion; spec monofusion.md section 9",
        "training cameras turned by 45 degrees about what the rig looks at",
        (),
        holdouts=("none",),
        size=(512, 288),
        on_training=True,
        turned=45.0,
    ),
    Protocol(
        "exorecon_5",
        "ExoRecon 5-degree views: to look at, without truth",
        "MonoFusion; spec monofusion.md section 9",
        "training cameras turned by 5 degrees about what the rig looks at",
        (),
        holdouts=("none",),
        size=(512, 288),
        on_training=True,
        turned=5.0,
        remarks=("The authors' code perturbs the Euler angles by up to 5 degrees instead.",),
    ),
    Protocol(
        "letcamsgo",
        "LetCamsGo: a fixed camera between moving ones, co-visible pixels and dynamic ones",
        "spec sparse_dynamic_cameras.md section 8",
        "three moving cameras train, one fixed camera tests at every moment",
        (*_masked("", "covisible"), *_masked("_dynamic", "dynamic")),
        holdouts=("standing",),
        size=(960, 540),
        covisibility="depth",
        depth_by_rule=True,
        dynamic_is_covisible=True,
        flow_threshold=1.0,
        without_cameramen=True,
        remarks=("The threshold of the flow is not published; 1 pixel at 960 x 540 is ours.",),
    ),
    Protocol(
        "panoptic_sports",
        "Panoptic Sports as Dynamic 3D Gaussians evaluates: four test cameras",
        "Luiten et al. 2023",
        "27 cameras train, cameras 0, 10, 15 and 30 test",
        (PSNR, SSIM_3DGS, LPIPS_ALEX, Measure("psnr_dynamic", "psnr", "masked", "dynamic"), *WEIGHT_FREE),
        size=(640, 360),
    ),
    Protocol(
        "dnerf",
        "D-NeRF on white",
        "Pumarola et al. 2021; Deformable-3DGS",
        "the data set's train and test lists",
        (PSNR, SSIM_3DGS, LPIPS_VGG, *WEIGHT_FREE[:2]),
        size=(800, 800),
        background="white",
    ),
    Protocol(
        "dnerf_400",
        "D-NeRF on white at half size",
        "Pumarola et al. 2021; TiNeuVox",
        "the data set's train and test lists",
        (PSNR, SSIM_3DGS, LPIPS_VGG, *WEIGHT_FREE[:2]),
        size=(400, 400),
        background="white",
    ),
    Protocol(
        "hypernerf",
        "HyperNeRF, interpolation and validation rig",
        "Park et al. 2021",
        "the data set's train and val lists",
        (PSNR, Measure("ms_ssim", "ms_ssim"), LPIPS_ALEX, SSIM, Measure("flip", "flip")),
        size=(536, 960),
    ),
)


def protocol_names() -> list[str]:
    """Names of all protocols."""
    return [p.name for p in PROTOCOLS]


def find_protocol(name: str) -> Protocol:
    """The protocol called `name`. FourfoldError naming the known ones if there is none."""
    for protocol in PROTOCOLS:
        if protocol.name == name:
            return protocol
    raise FourfoldError(f"there is no protocol {name!r}: choose one of {', '.join(protocol_names())}")
