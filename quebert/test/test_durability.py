"""
A small form of C{bench/durability.py}.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from quebert.test.durability import DATABASES, Orders, Soak
from quebert.test.postgresql import find_postgresql

#: Kills: the first three are of C{quebert web}, a mediator and RabbitMQ, as the seed
#: has it; and five are of all.
KILLS = {"sqlite": 3, "postgresql": 5}


@pytest.mark.parametrize(
    "database", [pytest.param(each, marks=pytest.mark.long) for each in DATABASES]
)
def test_durability(database: str, installed_rabbitmq: None, tmp_path: Path) -> None:
    """
    Tasks that are created over HTTP while all of it is killed end as clients were told.
    """
    assert tuple(KILLS) == DATABASES
    if database == "postgresql" and find_postgresql() is None:
        pytest.skip("PostgreSQL is not installed")
    soak = Soak(
        orders=Orders(200, seed=3, delay=2.0),
        database=database,
        folder=tmp_path,
        clients=4,
        chance=random.Random(3),
        pause=1.0,
        kills=(KILLS[database], KILLS[database]),
        say=lambda text: None,
    )
    proof = soak.run()
    assert not proof.broken(), proof.broken()
    assert len(proof.told.accepted) >= 190
