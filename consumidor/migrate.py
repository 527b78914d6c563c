"""Creates or upgrades every base that the settings name: `consumidor migrate`, and at each `consumidor up`."""

from consumidor import aws
from consumidor.people.migrate import migrate
from consumidor.people.vault import Vault, ensure_data_key
from consumidor.settings import Settings


def migrate_all(settings: Settings) -> list[str]:
    """The bases that are now up to date. Needs the settings of the process `migrate`; Bases B and C where they are set.

    Raises:
        CommandError: a base refuses; DependencyDown where it does not answer.
    """
    migrate(settings.base_a_owner_dsn, settings.base_a_dsn)
    ensure_data_key(settings.base_a_owner_dsn, Vault(aws.client(settings, "kms"), settings.base_a_kms_key))
    done = ["base_a"]
    if settings.base_b_uri:
        from consumidor.score.store import migrate_base_b  # noqa: PLC0415 - a driver only where it is needed

        migrate_base_b(settings.base_b_uri)
        done.append("base_b")
    if settings.base_c_url:
        from consumidor.events.index import migrate_base_c  # noqa: PLC0415 - as above

        migrate_base_c(settings.base_c_url)
        done.append("base_c")
    return done
