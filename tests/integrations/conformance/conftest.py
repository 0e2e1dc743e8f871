"""Names the marks that transformers' tests carry, as its own settings do, which its source distribution leaves out."""


def pytest_configure(config):
    for mark in (
        "accelerate_tests",
        "flash_attn_test",
        "flash_attn_3_test",
        "flash_attn_4_test",
        "slow",
        "torch_compile_test",
    ):
        config.addinivalue_line("markers", f"{mark}: of transformers")
