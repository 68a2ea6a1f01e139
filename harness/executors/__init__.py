"""Where runs execute: each module offers one class that follows `harness.contracts.Executor`."""
