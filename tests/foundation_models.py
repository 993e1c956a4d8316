"""Tiny models of the real architectures with random tensors, saved as the real checkpoints are, for the tests of the adapters."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fourfold.capture.capture import Capture


def small_capture(root: Path, views: int = 2, times: int = 3, width: int = 56, height: int = 42) -> Capture:
    """A capture of noise with blobs, identity cameras; the last time of each view is held out."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    for view in range(views):
        small = rng.integers(0, 255, (times, 6, 8, 3)).astype(np.uint8)
        np.save(root / f"frames_{view:03d}.npy", np.stack([np.kron(s, np.ones((7, 7, 1), np.uint8)) for s in small]))
    flags = np.ones((views, times), bool)
    train = flags.copy()
    train[:, -1] = False
    K = np.tile(np.array([[50.0, 0, width / 2], [0, 50.0, height / 2], [0, 0, 1]]), (views, times, 1, 1))
    sizes = np.tile([width, height], (views, 1))
    names = tuple(map(str, range(views)))
    capture = Capture(
        root, K, np.tile(np.eye(4), (views, times, 1, 1)), np.arange(times) / 30.0, sizes, flags, train, ~train, "given", False, "t", names
    )
    capture.save()
    return capture


def save_tiny_depth(folder: Path, metric: bool) -> None:
    """Depth Anything V2 with a two-layer DINOv2, patch 14."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    backbone = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=70, patch_size=14,
        out_indices=[1, 2, 3, 4], apply_layernorm=True, reshape_hidden_states=False,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, patch_size=14, reassemble_hidden_size=16, neck_hidden_sizes=[8, 8, 16, 16], fusion_hidden_size=8,
        head_hidden_size=8, depth_estimation_type="metric" if metric else "relative", max_depth=20 if metric else 1,
    )  # fmt: skip
    transformers.DepthAnythingForDepthEstimation(config).save_pretrained(folder)


def save_tiny_dinov2(folder: Path) -> None:
    """DINOv2 with 4 registers, 48 channels, patch 14."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.Dinov2WithRegistersConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=70, patch_size=14, num_register_tokens=4
    )
    transformers.Dinov2WithRegistersModel(config).save_pretrained(folder)


def save_tiny_clip(folder: Path) -> None:
    """CLIP with 16 channels and a tokenizer of single letters."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text("{" + ", ".join(f'"{w}": {i}' for i, w in enumerate(words)) + "}")
    (folder / "merges.txt").write_text("#version: 0.2\n")
    text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": len(words)}
    text |= {"max_position_embeddings": 77, "bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1, "pad_token_id": len(words) - 1}
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    transformers.CLIPModel(config).save_pretrained(folder)


def save_tiny_sam2(folder: Path) -> None:
    """SAM 2 video of 128 x 128 pixels with one block per stage."""
    transformers = pytest.importorskip("transformers")
    from transformers.models.sam2.configuration_sam2 import Sam2HieraDetConfig, Sam2VisionConfig
    from transformers.models.sam2_video.configuration_sam2_video import Sam2VideoMaskDecoderConfig, Sam2VideoPromptEncoderConfig

    torch.manual_seed(0)
    backbone = Sam2HieraDetConfig(
        hidden_size=8, image_size=[128, 128], blocks_per_stage=[1, 1, 1, 1], embed_dim_per_stage=[8, 16, 32, 64], num_attention_heads=1,
        num_attention_heads_per_stage=[1, 1, 1, 1], window_size_per_stage=[4, 4, 4, 4], global_attention_blocks=[],
        window_positional_embedding_background_size=[2, 2],
    )  # fmt: skip
    vision = Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[64, 32, 16, 8], backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]], fpn_hidden_size=128
    )
    config = transformers.Sam2VideoConfig(
        vision_config=vision, prompt_encoder_config=Sam2VideoPromptEncoderConfig(hidden_size=128, image_size=128, mask_input_channels=4),
        mask_decoder_config=Sam2VideoMaskDecoderConfig(hidden_size=128, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=32), image_size=128,
        mask_downsampler_embed_dim=128, memory_attention_hidden_size=128, memory_attention_feed_forward_hidden_size=32,
        memory_encoder_hidden_size=128,
        memory_encoder_output_channels=64, memory_fuser_embed_dim=128, memory_fuser_intermediate_dim=32, memory_attention_num_layers=1,
        memory_attention_rope_feat_sizes=[8, 8],
    )  # fmt: skip
    transformers.Sam2VideoModel(config).save_pretrained(folder)
