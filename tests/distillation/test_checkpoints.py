"""What tells one checkpoint in a folder from another."""

from __future__ import annotations

from pathlib import Path

from reranker_distill.checkpoints import files_of


def test_a_model_trained_anew_in_the_same_folder_is_another(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(bytes(3_000_000))
    (tmp_path / "config.json").write_text("{}")
    before = files_of(str(tmp_path))
    assert before == files_of(str(tmp_path))
    for changed in (bytes(3_000_000 - 1) + b"1", bytes(1_500_000) + b"1" + bytes(1_499_999), bytes(3_000_001)):
        weights.write_bytes(changed)
        assert files_of(str(tmp_path)) != before
    weights.write_bytes(bytes(3_000_000))
    assert files_of(str(tmp_path)) == before
    (tmp_path / "README.md").write_text("It is good.")
    assert files_of(str(tmp_path)) == before
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text("{}")
    assert files_of(str(tmp_path)) != before
    assert files_of("somebody/a-model") == {}
