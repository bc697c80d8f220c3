"""What every test relies on: no setting of the developer's own gets in."""

import os

for name in [name for name in os.environ if name.startswith("WICK_") and not name.startswith("WICK_TEST_")]:
    del os.environ[name]
