"""Whose devices are to hear that the inbox changed, and when: once for all that changes within some seconds. Pure."""

from __future__ import annotations


class Pending:
    """A person is due so many ``seconds`` after the first change since they were last taken; of ``most`` people at once.

    So nobody is taken more often than that, and what they are told then counts the last change too.
    """

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._due_at: dict[str, float] = {}  # in the order in which they are due, for all wait as long

    def __len__(self) -> int:
        return len(self._due_at)

    def add(self, recipient: str, now: float) -> bool:
        """Their inbox changed, at ``now`` in monotonic seconds. False: there is no room, and it is forgotten."""
        if recipient in self._due_at:
            return True
        if len(self._due_at) >= self._most:
            return False
        self._due_at[recipient] = now + self._seconds
        return True

    def take(self, now: float, most: int) -> list[str]:
        """Up to ``most`` of those who are due, the longest waiting first; they wait no more."""
        due: list[str] = []
        for recipient, at in self._due_at.items():
            if at > now or len(due) >= most:
                break
            due.append(recipient)
        for recipient in due:
            del self._due_at[recipient]
        return due
