"""Every limit that operators read about is reached by a test."""

import re

from processes import ROOT

CORE, EXECUTOR, FACILITATOR = "packages/core/tests", "packages/executor/tests", "packages/facilitator/tests"

# The rows of docs/operating.md, each with the test that goes above it and reads what is said then.
REACHED = {
    "body of a request that creates a job": (
        f"{FACILITATOR}/test_facilitator_creation.py",
        "test_a_large_body_is_taken_and_a_larger_one_is_a_413",
    ),
    "one uploaded input": (
        f"{FACILITATOR}/test_facilitator_blobs.py",
        "test_caps_are_told_before_anything_is_taken",
    ),
    "uploaded inputs of a hotkey, unfinished ones included": (
        f"{FACILITATOR}/test_facilitator_blobs.py",
        "test_caps_are_told_before_anything_is_taken",
    ),
    "an upload that does not go on": (
        f"{FACILITATOR}/test_facilitator_blobs.py",
        "test_what_nobody_uses_is_forgotten_but_not_while_a_job_names_it",
    ),
    "an uploaded input that no unfinished job names": (
        f"{FACILITATOR}/test_facilitator_blobs.py",
        "test_what_nobody_uses_is_forgotten_but_not_while_a_job_names_it",
    ),
    "a path: bytes, bytes of a component, directories": (
        f"{CORE}/test_core_names.py",
        "test_an_odd_relative_path_is_refused_with_the_cause",
    ),
    "a URL": (f"{CORE}/test_core_spec.py", "test_a_wrong_value_is_refused_and_its_field_is_named"),
    "an image name": (
        f"{CORE}/test_core_names.py",
        "test_what_is_no_image_name_is_refused_with_the_part_that_is_wrong",
    ),
    "an argument, or a variable with its name; all together": (
        f"{CORE}/test_core_spec.py",
        "test_arguments_and_environment_share_one_limit",
    ),
    "inputs of a job on disk": (
        f"{EXECUTOR}/test_volumes.py",
        "test_the_operators_limit_counts_all_volumes_together",
    ),
    "redirects of a download": (
        f"{EXECUTOR}/test_fetch.py",
        "test_what_cannot_be_fetched_fails_with_the_right_reason_and_advice",
    ),
    "a zip: entries with the directories that they imply": (
        f"{EXECUTOR}/test_archive.py",
        "test_entries_are_counted_before_they_are_kept_in_memory",
    ),
    "a zip: its table of contents": (
        f"{EXECUTOR}/test_archive.py",
        "test_a_table_of_contents_has_a_limit_too",
    ),
    "a zip: paths": (
        f"{EXECUTOR}/test_archive.py",
        "test_a_hostile_archive_is_refused_in_clear_words_and_leaves_nothing_outside",
    ),
    "a zip that grows beyond 64 MiB": (
        f"{EXECUTOR}/test_archive.py",
        "test_bombs_are_refused_before_a_byte_is_written",
    ),
    "log of a stream": (
        f"{FACILITATOR}/test_facilitator_reading.py",
        "test_a_log_above_its_cap_shows_a_mark_in_the_middle",
    ),
    "artifacts of a job": (f"{EXECUTOR}/test_collect.py", "test_more_files_than_allowed_are_left_out_aloud"),
    "things listed that are no artifacts": (
        f"{EXECUTOR}/test_collect.py",
        "test_the_list_of_what_was_left_out_has_an_end_that_says_so",
    ),
    "holes in an output": (
        f"{EXECUTOR}/uploads/test_outputs.py",
        "test_whatever_is_no_plain_file_of_the_job_is_refused_with_the_reason",
    ),
    "outputs of a job": (f"{CORE}/test_core_spec.py", "test_a_wrong_value_is_refused_and_its_field_is_named"),
    "signed headers of an output; fields of its form": (
        f"{CORE}/test_core_spec.py",
        "test_a_wrong_value_is_refused_and_its_field_is_named",
    ),
    "what the server of an output answers": (
        f"{EXECUTOR}/uploads/test_send.py",
        "test_answers_are_kept_in_part_and_without_what_signed_the_request",
    ),
    "artifacts in the JSON of one job": (
        f"{FACILITATOR}/test_facilitator_reading.py",
        "test_one_reply_holds_fifty_mebibytes_and_lists_the_rest",
    ),
    "registries with credentials of a hotkey": (
        f"{FACILITATOR}/test_facilitator_registries.py",
        "test_an_owner_has_a_hundred_registries",
    ),
    "waiting in the queue": (
        f"{FACILITATOR}/test_facilitator_time.py",
        "test_a_job_that_waits_too_long_is_rejected",
    ),
    "limits of a job together": (
        f"{FACILITATOR}/test_facilitator_classes.py",
        "test_a_job_above_the_limit_of_its_class_is_rejected_with_both_figures",
    ),
    "waiting for a class that nobody serves": (
        f"{FACILITATOR}/test_facilitator_time.py",
        "test_a_job_of_a_class_that_nobody_serves_is_rejected",
    ),
    "collecting results": (
        f"{EXECUTOR}/running/test_job.py",
        "test_the_operators_limit_ends_a_delivery_that_does_not_go_on",
    ),
}


def test_every_limit_of_the_page_is_reached_by_a_test():
    """A limit that nobody ever reached may be none."""
    page = (ROOT / "docs" / "operating.md").read_text().partition("## Limits")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!What \|)([^|]+?) \|", page, re.MULTILINE)
    assert sorted(rows) == sorted(REACHED)
    missing = {
        f"{file}::{test}"
        for file, test in REACHED.values()
        if not re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE)
    }
    assert missing == set()
