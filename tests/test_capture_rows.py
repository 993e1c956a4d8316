"""What people bring, row by row, and the tests that hold it right. "silent" rows gave a wrong scene without a word before they were mended."""

from __future__ import annotations

import ast
from pathlib import Path

SILENT: dict[str, str] = {
    "HLG film of a phone": "colour::test_high_dynamic_range_of_bt2020_becomes_the_colours_it_was_made_from",
    "HD film without colour tags": "colour::test_a_film_without_a_matrix_is_taken_as_players_take_it",
    "mirrored display matrix": "colour::test_the_whole_display_matrix_is_followed",
    "interlaced film": "colour::test_interlaced_frames_are_taken_apart",
    "cover picture first, two films in one file": "inspect::test_the_film_is_found_among_other_streams_of_pictures",
    "masks as JPEG, mattes, cut-outs, arrays, palettes": "masks::test_masks_of_every_kind_are_the_object",
    "inverted masks": "masks::test_masks_of_the_background_are_turned_round_and_said",
    "masks of COLMAP's names": "masks::test_masks_of_a_colmap_folder",
    "films beside a model of their first frames": "arrangement::test_videos_beside_a_model_of_their_first_frames",
    "4DGaussians' multipleview": "arrangement::test_multipleview_of_4dgaussians",
    "COLMAP model of several cameras in one folder": "arrangement::test_colmap_of_fixed_cameras",
    "the larger COLMAP model is not the first": "arrangement::test_the_largest_model_is_taken_and_told",
    "images that COLMAP did not register": "arrangement::test_images_that_were_not_registered_leave_gaps",
    "turned photos with a camera model": "turned_photos::test_cameras_turn_with_their_photos",
    "transforms.json of fixed cameras without times": "arrangement::test_transforms_of_fixed_cameras_without_times",
    "timestamp, frame_index, camera_index": "arrangement::test_transforms_with_what_tells_times_or_cameras",
    "equirectangular transforms.json": "arrangement::test_an_image_that_sees_all_around_is_refused",
    "NeRFCapture": "transforms::test_nerfcaptures_depth_is_in_metres_and_its_times_count",
    "EasyMocap, Anipose, Caliscope, Qualisys, Theia3D, ...": "calibrations::test_every_format_gives_its_cameras",
    "ROS and OpenCV yaml": "calibrations::test_a_yaml_per_camera_takes_out_the_lens_and_leaves_the_poses_to_be_estimated",
    "Record3D": "calibrations::test_record3d",
    "Record3D's depth": "calibrations::test_record3ds_depth_is_in_metres",
    "Polycam": "calibrations::test_polycam_with_depth_in_millimetres",
    "letterbox": "pictures::test_letterbox_bars_are_left_out",
    "burnt-in text": "pictures::test_subtitles_and_marks_are_left_out",
    "side by side": "pictures::test_packed_stereo_is_two_views",
    "exposure ramp": "exposure::test_frames_on_disk_are_steady_and_it_is_said",
    "scene cut": "shots::test_the_longest_shot_is_taken_and_every_step_is_told",
    "repeated frames": "shots::test_repeated_frames_are_found_and_their_originals_kept",
    "a finished run": "refusals::test_inspect_of_a_run_tells_the_run",
    "films of masks": "film_roles::test_a_film_of_masks_is_masks",
    "chapters of one recording": "film_roles::test_chapters_of_one_recording_are_no_two_cameras",
    "colours of a profile": "colour_profiles::test_display_p3_becomes_srgb",
    "frame numbers behind a point": "part::test_times_in_names",
    "a film all around without a mark": "pictures::test_an_unrolled_sphere_without_a_mark_is_refused",
}
LOUD: dict[str, str] = {
    "rotation": "video::test_rotation_flag_turns_the_picture_upright",
    "odd pixel formats, BT.601, full range": "video::test_odd_pixel_formats_keep_their_levels",
    "tagged colours": "video::test_colours_follow_the_matrix_the_file_names",
    "variable frame rate": "video::test_true_times_of_a_variable_frame_rate",
    "cut transport stream": "video::test_a_file_cut_before_its_first_key_picture_is_counted_by_decoding",
    "wide pixels": "video::test_wide_pixels_are_made_square",
    "30, 60 and 25 frames per second": "ingest::test_several_videos_are_joined_by_nearest_moments",
    "4K": "pictures::test_opening_a_large_film_keeps_little",
    "a part of a long film": "part::test_a_part_of_a_film",
    "the rate of a folder of images": "part::test_the_rate_of_a_folder_of_images",
    "time lapse": "part::test_times_of_exif",
    "six masks for twelve images": "errors::test_mask_folder_of_another_length",
    "HEIC, 360 degree files, archives, raw photos": "refusals::test_files_of_known_kinds_are_named",
    "soft opacity": "pictures::test_transparent_images_keep_their_alpha",
    "focal length in EXIF": "focal::test_35mm_equivalent_means_the_same_angle_over_the_diagonal",
    "COLMAP, both forms": "colmap::test_colmap",
    "COLMAP, two lenses": "colmap::test_each_camera_keeps_its_own_lens",
    "transforms.json with times": "readers::test_nerfstudio_cameras_by_id_and_by_shared_time",
    "backslashes": "transforms::test_backslashes_are_separators",
    "videos one folder down": "refusals::test_videos_one_folder_down_are_found",
    "a folder per moment": "arrangement::test_a_folder_per_moment_with_a_model",
    "known files that did not serve": "refusals::test_known_files_that_are_not_read_are_named",
    "mirrored axes": "refusals::test_mirrored_axes_are_told_as_that",
    "one word for a layout": "refusals::test_one_word_for_a_layout",
    "damaged files": "errors::test_truncated_mp4_with_its_index_in_front",
}


def _functions(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def test_every_row_has_its_test() -> None:
    missing = []
    for row, place in (SILENT | LOUD).items():
        file, name = place.split("::")
        if name not in _functions(Path(__file__).parent / f"test_capture_{file}.py"):
            missing.append(f"{row}: {place}")
    assert not missing, "\n".join(missing)
