"""What an object has to remember, as plain lists: how the state of the engine is saved and restored. Pure.

A class sorts its attributes into two lists, next to where it makes them: `STATE`, on which later output depends, and
`GIVEN`, what the constructor is told or makes of that. Each attribute is in exactly one of them (tests/stream/
test_state.py), so that a new one is not forgotten.
"""

from typing import Any, ClassVar


class Stateful:
    """Saves and restores its `STATE`; what is stateful in it restores itself, in place."""

    __slots__ = ()
    STATE: ClassVar[tuple[str, ...]]
    GIVEN: ClassVar[tuple[str, ...]] = ()

    def state(self) -> list[Any]:
        """Lists, dicts by number or text, integers, bytes. They are the object's own: pack them before it goes on."""
        values = [getattr(self, name) for name in self.STATE]
        return [value.state() if isinstance(value, Stateful) else value for value in values]

    def restore(self, state: list[Any]) -> None:
        """Into an object that was made as the saved one was. It keeps the lists."""
        for name, value in zip(self.STATE, state, strict=True):
            own = getattr(self, name)
            if isinstance(own, Stateful):
                own.restore(value)
            else:
                setattr(self, name, value)
