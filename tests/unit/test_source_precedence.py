"""Which source a fetch asks: the flag, else the variable, else the file, else the store of this folder."""

import pytest

from pipeline.connect import open_supply
from pipeline.settings import load_settings

FLAG = {"source": "https://flag.example/tree"}
VARIABLE = {"MODELPORT_SOURCE": "https://variable.example/tree"}
FILE = "source: https://file.example/tree\n"


@pytest.mark.parametrize(
    ("flags", "environ", "file", "host"),
    [
        (FLAG, VARIABLE, FILE, "https://flag.example/tree"),
        ({}, VARIABLE, FILE, "https://variable.example/tree"),
        ({}, {}, FILE, "https://file.example/tree"),
        ({}, {}, "", "file://"),
    ],
)
def test_flag_beats_variable_beats_file_beats_the_store_of_the_folder(tmp_path, flags, environ, file, host):
    if file:
        (tmp_path / "modelport.yaml").write_text(file)
    supply = open_supply(load_settings(flags, {"HOME": str(tmp_path), **environ}, tmp_path))
    assert [reader.url for reader in supply.sources.readers] == [host if file else (tmp_path / ".modelport/store").as_uri()]
    supply.sources.close()
