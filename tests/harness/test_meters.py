"""Clocks and counters: each second is charged once, and what a run had of the processor is told apart from it."""

from __future__ import annotations

import time

import pytest

from harness.meters import MeterBank
from harness.record import Meters


def work(seconds: float) -> None:
    """Keep the processor busy for so many of its seconds."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_a_second_is_charged_to_one_phase() -> None:
    bank = MeterBank()
    with bank.clock("train"):
        time.sleep(0.02)
        with bank.clock("generate"):
            time.sleep(0.05)
    read = bank.read()
    assert read.train_seconds >= 0.02 and read.generate_seconds >= 0.05
    assert read.device_seconds == read.train_seconds + read.generate_seconds
    assert read.seconds == pytest.approx(read.device_seconds + read.overhead_seconds)


def test_waiting_takes_no_processor() -> None:
    """Work has the processor for all of its time (or what a busy machine leaves), sleep for none."""
    bank = MeterBank()
    work(0.2)
    worked = bank.read()
    time.sleep(0.3)
    slept = bank.read().since(worked)
    assert worked.processor_seconds is not None and slept.processor_seconds is not None
    assert worked.processor_seconds >= 0.2
    assert slept.processor_seconds < 0.1 and slept.seconds >= 0.3


def test_what_was_never_metered_stays_unknown() -> None:
    """A run that began before the processor was metered goes on without."""
    bank = MeterBank(Meters(train_seconds=3.0))
    work(0.01)
    assert bank.read().processor_seconds is None
    assert bank.read().since(Meters(processor_seconds=0.0)).processor_seconds is None


def test_what_others_spent_for_it_is_charged_whole() -> None:
    bank = MeterBank()
    bank.charge(Meters(generate_seconds=2.0, processor_seconds=1.5, generated_tokens=7))
    read = bank.read()
    assert read.generate_seconds == 2.0 and read.generated_tokens == 7
    assert read.processor_seconds is not None and 1.5 <= read.processor_seconds < 2.0


def test_a_charge_of_unknown_processor_time_makes_the_sum_unknown() -> None:
    bank = MeterBank()
    bank.charge(Meters(generate_seconds=2.0))
    assert bank.read().processor_seconds is None and bank.read().generate_seconds == 2.0
    old = MeterBank(Meters())
    old.charge(Meters(generate_seconds=2.0, processor_seconds=1.5))
    assert old.read().processor_seconds is None and old.read().generate_seconds == 2.0
