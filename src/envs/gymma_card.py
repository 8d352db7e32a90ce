"""Task cards of ``gymma``, see ``engine_cards.py``."""

from envs.engine_cards import gymma_card as card
from envs.engine_cards import short_id as task_id

__all__ = ["card", "task_id"]
