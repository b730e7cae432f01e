"""Run programs that nobody has read: no network, no files of this machine, limits on everything, nothing left behind."""

from burnish.verify.sandbox.base import Limits, Outcome, Program, Sandbox, Session
from burnish.verify.sandbox.choose import sandbox
from burnish.verify.sandbox.remote import Executor, Remote

__all__ = ["Executor", "Limits", "Outcome", "Program", "Remote", "Sandbox", "Session", "sandbox"]
