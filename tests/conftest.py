"""Golden outputs are rewritten only on request."""


def pytest_addoption(parser):
    parser.addoption("--rewrite-golden", action="store_true", help="rewrite tests/models/golden.json")
