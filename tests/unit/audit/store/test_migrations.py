"""The migrations as packaged."""

from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

from audit.store import migrations


def test_the_version_this_code_knows_is_the_newest_migration_and_they_follow_each_other():
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    scripts = ScriptDirectory.from_config(config)
    revisions = [script.revision for script in scripts.walk_revisions()]
    assert scripts.get_current_head() == migrations.CURRENT == revisions[0]
    assert revisions == sorted(revisions, reverse=True)  # `check_known` compares them as text
    assert all(len(revision) == 4 for revision in revisions)
