"""Imported first by a fork server, which then imports without looking for garbage: there is next to none, and looking
for it is a fifth of the time. A forked process looks again from `harness.fork_server.begin` on."""

import gc

gc.disable()
