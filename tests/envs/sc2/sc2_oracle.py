"""SMAC's interface a second time: plain, scalar, written from the rules alone. It shares no code with ``src``.

A unit is a dict: name, x, y, health, health_max, shield, shield_max, energy, cooldown (Python floats, taken from
float32) and alive. A battle is (allies in agent order, enemies). Everything is computed in Python floats and becomes
float32 at the very end.
"""

from __future__ import annotations

import math

import numpy as np

STOCK = {
    "Colossus": 4, "Baneling": 9, "Marine": 48, "Reaper": 49, "Marauder": 51, "Medivac": 54, "Zealot": 73,
    "Stalker": 74, "Zergling": 105, "Overlord": 106, "Hydralisk": 107, "Ultralisk": 109, "Roach": 110,
}  # fmt: skip
MAX_CD = {
    "Marine": 15, "Marauder": 25, "Medivac": 200, "Stalker": 35, "Zealot": 22, "Colossus": 24, "Hydralisk": 10,
    "Zergling": 11, "Baneling": 1,
}  # fmt: skip
SHIELD = {"Stalker": 80, "Zealot": 50, "Colossus": 150}
V2_SIGHT = {
    "Marine": 9, "Marauder": 10, "Medivac": 11, "Stalker": 10, "Zealot": 9, "Colossus": 10, "Zergling": 8,
    "Hydralisk": 9, "Baneling": 8,
}  # fmt: skip
V2_SHOOT = {
    "Marine": 5, "Marauder": 6, "Medivac": 4, "Stalker": 6, "Zealot": 0.1, "Colossus": 7, "Zergling": 0.1,
    "Hydralisk": 5, "Baneling": 0.25,
}  # fmt: skip
RL_IDS = {  # ids of the allies' own types, by map family
    "marines": ["Marine"],
    "stalkers_and_zealots": ["Stalker", "Zealot"],
    "stalkers": ["Stalker", "Zealot"],
    "MMM": ["Marauder", "Marine", "Medivac"],
    "bZ_hM": ["Baneling", "Zergling"],
    "overload_bane": ["Baneling", "Overlord", "Roach", "Zergling"],
    "overload_roach": ["Baneling", "Overlord", "Roach", "Zergling"],
}
ASSIGNED = {  # what SMAC believes the ids from the smallest one on to be
    "marines": ["Marine"],
    "stalkers_and_zealots": ["Stalker", "Zealot"],
    "stalkers": ["Stalker"],
    "MMM": ["Marauder", "Marine", "Medivac"],
    "bZ_hM": ["Baneling"],
    "overload_bane": [],
    "overload_roach": [],
}
ALLY_SLOT = {
    "stalkers_and_zealots": {"Stalker": 0, "Zealot": 1},
    "MMM": {"Marauder": 0, "Marine": 1, "Medivac": 2},
    "bZ_hM": {"Baneling": 0},
    "overload_bane": {"Overlord": 0, "Baneling": 1},
    "overload_roach": {"Roach": 0, "Overlord": 1},
    "terran": {"Marine": 0, "Marauder": 1, "Medivac": 2},
    "protoss": {"Stalker": 0, "Zealot": 1, "Colossus": 2},
    "zerg": {"Zergling": 0, "Hydralisk": 1, "Baneling": 2},
}
ENEMY_SLOT = {
    **ALLY_SLOT,
    "stalkers_and_zealots": {"Zealot": 0, "Stalker": 1},
    "bZ_hM": {"Hydralisk": 0, "Medivac": 1},
    "overload_bane": {"Roach": 0},
    "overload_roach": {"Reaper": 0},
}
BITS = {
    "marines": 0, "stalkers": 0, "stalkers_and_zealots": 2, "MMM": 3, "bZ_hM": 2, "overload_bane": 2,
    "overload_roach": 2, "terran": 3, "protoss": 3, "zerg": 3,
}  # fmt: skip

# name: family, allies in agent order, enemies in creation order, terrain, limit
MAPS: dict[str, tuple[str, list[str], list[str], str, int]] = {
    "3m": ("marines", ["Marine"] * 3, ["Marine"] * 3, "band", 60),
    "8m": ("marines", ["Marine"] * 8, ["Marine"] * 8, "band", 120),
    "5m_vs_6m": ("marines", ["Marine"] * 5, ["Marine"] * 6, "band", 70),
    "2s3z": ("stalkers_and_zealots", ["Stalker"] * 2 + ["Zealot"] * 3, ["Stalker"] * 2 + ["Zealot"] * 3, "band", 120),
    "3s5z": ("stalkers_and_zealots", ["Stalker"] * 3 + ["Zealot"] * 5, ["Stalker"] * 3 + ["Zealot"] * 5, "band", 150),
    "3s_vs_5z": ("stalkers", ["Stalker"] * 3, ["Zealot"] * 5, "flat", 250),
    "5z_vs_1ul": ("stalkers", ["Zealot"] * 5, ["Ultralisk"], "band", 150),
    "MMM": (
        "MMM",
        ["Marauder"] * 2 + ["Marine"] * 7 + ["Medivac"],
        ["Marine"] * 7 + ["Marauder"] * 2 + ["Medivac"],
        "band",
        150,
    ),
    "MMM2": (
        "MMM",
        ["Marauder"] * 2 + ["Marine"] * 7 + ["Medivac"],
        ["Marine"] * 8 + ["Marauder"] * 3 + ["Medivac"],
        "band",
        180,
    ),
    "bane_vs_hM": ("bZ_hM", ["Baneling"] * 3, ["Hydralisk", "Medivac"], "tee", 30),
    "1o_10b_vs_1r": ("overload_bane", ["Baneling"] * 10 + ["Overlord"], ["Roach"], "cliffs", 50),
    "1o_10b_vs_1r_v2": ("overload_bane", ["Baneling"] * 10 + ["Overlord"], ["Roach"], "cliffs", 50),
    "2o_20b_vs_2r": ("overload_bane", ["Baneling"] * 20 + ["Overlord"] * 2, ["Roach"] * 2, "cliffs", 50),
    "1o_2r_vs_4r": ("overload_roach", ["Overlord"] + ["Roach"] * 2, ["Reaper"] * 4, "ring", 50),
}
for _race in ("terran", "protoss", "zerg"):
    for _size in (5, 10):  # types are drawn: see the states' generator
        MAPS[f"{_race}_{_size}_vs_{_size}"] = (_race, [""] * _size, [""] * _size, "flat", 200)

CLIFFS = """
................................
................................
................................
................................
................................
................................
........~~~~........~~~~........
........~##~........~##~........
......~~#oo#..~~##~~~#o#~~......
......~#ooo#..~#oo#~~~#o#~......
......~#ooo#~~~#oo#~..~##~......
......~~###o#~~~##~~..~~~~......
..........~##~......~~~~........
..........~~~~......~##~........
........~~~~........#oo#........
........~##~........#oo#........
........#oo#........~##~........
........#oo#........~~~~........
........~##~......~~~~..........
........~~~~......~##~..........
......~~~~..~~##~~~#o###~~......
......~##~..~#oo#~~~#ooo#~......
......~#o#~~~#oo#~..#ooo#~......
......~~#o#~~~##~~..#oo#~~......
........~##~........~##~........
........~~~~........~~~~........
................................
................................
................................
................................
................................
................................
""".split()


def walkable(terrain: str, i: int, j: int) -> bool:
    """Whether cell (i, j) inside the map can be walked on."""
    if terrain == "band":
        return 7 <= j <= 24
    if terrain == "tee":
        wide = j >= 29 or (j == 28 and 13 <= i <= 18) or (j == 27 and 14 <= i <= 17)
        return wide or (j <= 26 and 15 <= i <= 16)
    if terrain == "ring":
        return not (7 <= i <= 24 and 5 <= j <= 26)
    if terrain == "cliffs":
        return 3 <= i <= 28 and 3 <= j <= 28 and CLIFFS[31 - j][i] != "#"
    return True


def height(terrain: str, i: int, j: int) -> int:
    """Height of cell (i, j) as the game reports it."""
    if terrain == "cliffs":
        return 255 if CLIFFS[31 - j][i] == "o" else 191
    return 191 if walkable(terrain, i, j) else 127


class Oracle:
    """The interface of one map, flavour and set of options.

    Args:
        map_name: key of MAPS.
        flavour: "smac", "smac_comm" or "smacv2".
        o: every option by name.
    """

    def __init__(self, map_name: str, flavour: str, o: dict) -> None:
        self.family, allies, enemies, self.terrain, self.limit = MAPS[map_name]
        self.flavour, self.o = flavour, o
        self.n, self.m = len(allies), len(enemies)
        self.conic = o.get("conic_fov", False)
        self.base = 6 + (12 if self.conic else 0)
        self.heals = self.family in ("MMM", "terran")
        self.A = self.base + (max(self.n, self.m) if self.heals else self.m)
        first = allies[0] or {"terran": "Marine", "protoss": "Zealot", "zerg": "Zergling"}[self.family]
        first_enemy = enemies[0] or first
        self.sa, self.se = int(first in SHIELD), int(first_enemy in SHIELD)
        self.own_health = o["obs_own_health"] or o["obs_all_health"]
        self.reset_memory()
        self.max_reward = 0.0

    def reset_memory(self) -> None:
        self.looks = [(1.0, 0.0)] * self.n
        self.first: list[int | None] = [None] * self.m
        self.allowed = [[False] * self.n for _ in range(self.m)]

    def forget(self, allies: list[dict], enemies: list[dict]) -> None:
        """After a step: slots whose first observer has died, and slots of dead enemies, are new again."""
        for j in range(self.m):
            if (self.first[j] is not None and not allies[self.first[j]]["alive"]) or not enemies[j]["alive"]:
                self.first[j] = None
                self.allowed[j] = [False] * self.n

    def look(self, actions: list[int]) -> None:
        """Carries out look actions."""
        for i, action in enumerate(actions):
            if 6 <= action < self.base:
                angle = 2 * np.pi * ((action - 6) / 12)
                self.looks[i] = (float(np.cos(angle)), float(np.sin(angle)))

    # -- what SMAC takes an ally for -----------------------------------------------------------------------------

    def believed(self, name: str, allies: list[dict]) -> str | None:
        if self.flavour == "smacv2":
            return name
        ids = RL_IDS[self.family]
        smallest = min(ids.index(u["name"]) for u in allies)
        place = ids.index(name) - smallest
        return ASSIGNED[self.family][place] if place < len(ASSIGNED[self.family]) else None

    def max_cd(self, name: str, allies: list[dict]) -> float:
        return MAX_CD.get(self.believed(name, allies) or "", 15)

    def ally_shield(self, u: dict, allies: list[dict]) -> float:
        return u["shield"] / SHIELD[self.believed(u["name"], allies)]

    # -- ranges --------------------------------------------------------------------------------------------------

    def sight(self, u: dict) -> float:
        if self.flavour == "smacv2":
            return V2_SIGHT[u["name"]] if self.o["use_unit_ranges"] else 9
        return self.o["sight_range"]

    def shoot(self, u: dict) -> float:
        if self.flavour == "smacv2":
            return max(V2_SHOOT[u["name"]], self.o["min_attack_range"]) if self.o["use_unit_ranges"] else 6
        return self.o["shoot_range"]

    def in_cone(self, i: int, u: dict, v: dict, reach: float) -> bool:
        if math.hypot(v["x"] - u["x"], v["y"] - u["y"]) > reach:
            return False
        dx, fx, fy = v["x"] - u["x"], *self.looks[i]
        if dx > 0:
            dx, fx = max(dx, 1e-7), max(fx, 1e-7)
        else:
            dx, fx = min(dx, -1e-7), min(fx, -1e-7)
        return abs(math.atan((v["y"] - u["y"]) / dx) - math.atan(fy / fx)) < 2 * math.pi / 12 / 2

    def can_reach(self, i: int, u: dict, v: dict) -> bool:
        if self.conic:
            return self.in_cone(i, u, v, self.shoot(u))
        return math.hypot(v["x"] - u["x"], v["y"] - u["y"]) <= self.shoot(u)

    def sees(self, i: int, u: dict, v: dict) -> bool:
        if self.conic:
            return self.in_cone(i, u, v, self.sight(u))
        return math.hypot(v["x"] - u["x"], v["y"] - u["y"]) < self.sight(u)

    # -- actions -------------------------------------------------------------------------------------------------

    def available(self, allies: list[dict], enemies: list[dict], i: int, masked: bool | None = None) -> list[int]:
        masked = self.o.get("action_mask", True) if masked is None else masked
        row = [0] * self.A
        u = allies[i]
        if not u["alive"]:
            row[0] = 1
            return row
        row[1] = 1
        half = self.o["move_amount"] / 2
        for k, (dx, dy) in enumerate([(0, half), (0, -half), (half, 0), (-half, 0)]):
            a, b = int(u["x"] + dx), int(u["y"] + dy)
            row[2 + k] = int(0 <= a < 32 and 0 <= b < 32 and walkable(self.terrain, a, b))
        for k in range(6, self.base):
            row[k] = 1
        heals = self.heals and u["name"] == "Medivac"
        for k, v in enumerate(allies if heals else enemies):
            if v["alive"] and not (heals and v["name"] == "Medivac"):
                row[self.base + k] = int(not masked or self.can_reach(i, u, v))
        return row

    # -- observations --------------------------------------------------------------------------------------------

    def obs(self, allies: list[dict], enemies: list[dict], order: list[int], last: list[int], step: int) -> np.ndarray:
        rows: list = [None] * self.n
        for i in order:
            rows[i] = self.obs_of(allies, enemies, i, last, step)
        return np.array(rows, dtype=np.float64).astype(np.float32)

    def obs_of(self, allies: list[dict], enemies: list[dict], i: int, last: list[int], step: int) -> list[float]:
        o, u = self.o, allies[i]
        bits = BITS[self.family]
        move = [0.0] * (4 + 8 * o["obs_pathing_grid"] + 9 * o["obs_terrain_height"])
        both = self.flavour == "smac_comm" and o["obs_enemy_health"]
        e_width = 4 + bits + (1 + self.se) * o["obs_all_health"] + (1 + self.se) * both
        a_width = 4 + bits + (1 + self.sa) * o["obs_all_health"] + self.A * o["obs_last_action"]
        enemy_rows = [[0.0] * e_width for _ in enemies]
        ally_rows = [[0.0] * a_width for _ in range(self.n - 1)]
        own: list[float] = []
        own_width = (1 + self.sa) * self.own_health + bits
        own_width += 2 * o.get("obs_own_pos", False) + 2 * self.conic
        own_width += o["obs_timestep_number"] and self.flavour == "smac"
        if u["alive"]:
            in_range = self.available(allies, enemies, i, True)
            move = self.move_block(u, in_range)
            for j, v in enumerate(enemies):
                seen = self.sees(i, u, v)
                hidden = False
                if self.flavour == "smacv2" and o["sight_memory"] == "faithful":
                    if seen and self.first[j] is None:
                        self.first[j] = i
                        self.allowed[j] = [True] * self.n
                    hidden = not self.allowed[j][i]
                if seen and not hidden and v["alive"]:
                    enemy_rows[j] = self.relative(u, v, in_range[self.base + j], e_width)
                    at = 4
                    if o["obs_all_health"] or both:
                        enemy_rows[j][at] = v["health"] / v["health_max"]
                        at += 1
                        if self.se:
                            enemy_rows[j][at] = v["shield"] / SHIELD[v["name"]]
                            at += 1
                    if bits:
                        enemy_rows[j][at + ENEMY_SLOT[self.family][v["name"]]] = 1.0
                if hidden:
                    enemy_rows = [[0.0] * e_width for _ in enemies]
            for r, a in enumerate(k for k in range(self.n) if k != i):
                v = allies[a]
                if self.sees(i, u, v) and v["alive"]:
                    ally_rows[r] = self.relative(u, v, 1, a_width)
                    at = 4
                    if o["obs_all_health"]:
                        ally_rows[r][at] = v["health"] / v["health_max"]
                        at += 1
                        if self.sa:
                            ally_rows[r][at] = self.ally_shield(v, allies)
                            at += 1
                    if bits:
                        ally_rows[r][at + ALLY_SLOT[self.family][v["name"]]] = 1.0
                        at += bits
                    if o["obs_last_action"] and last[a] >= 0:
                        ally_rows[r][at + last[a]] = 1.0
            if self.own_health:
                own.append(u["health"] / u["health_max"])
                if self.sa:
                    own.append(self.ally_shield(u, allies))
            if o.get("obs_own_pos", False):
                own += [u["x"] / 32, u["y"] / 32]
            if self.conic:
                own += self.looks[i]
            own += [float(k == ALLY_SLOT[self.family][u["name"]]) for k in range(bits)] if bits else []
        own += [0.0] * (own_width - len(own))
        flat = move + [x for row in enemy_rows for x in row] + [x for row in ally_rows for x in row] + own
        return flat + ([step / self.limit] if o["obs_timestep_number"] else [])

    def relative(self, u: dict, v: dict, flag: int, width: int) -> list[float]:
        sight = self.sight(u)
        dx, dy = v["x"] - u["x"], v["y"] - u["y"]
        return [float(flag), math.hypot(dx, dy) / sight, dx / sight, dy / sight] + [0.0] * (width - 4)

    def move_block(self, u: dict, avail: list[int]) -> list[float]:
        block = [float(a) for a in avail[2:6]]
        x, y = int(u["x"]), int(u["y"])
        m = int(self.o["move_amount"])
        ring = [(x, y + 2 * m), (x, y - 2 * m), (x + 2 * m, y), (x - 2 * m, y)]
        ring += [(x + m, y + m), (x - m, y - m), (x + m, y - m), (x - m, y + m)]
        if self.o["obs_pathing_grid"]:
            block += [float(not inside(a, b) or walkable(self.terrain, a, b)) for a, b in ring]
        if self.o["obs_terrain_height"]:
            for a, b in [*ring, (x, y)]:
                block.append(height(self.terrain, a, 31 - b) / 255 if inside(a, b) else 1.0)
        return block

    # -- state ---------------------------------------------------------------------------------------------------

    def state(self, allies: list[dict], enemies: list[dict], last: list[int], step: int) -> np.ndarray:
        bits, out = BITS[self.family], []
        for i, u in enumerate(allies):
            row = [0.0] * (4 + self.sa + 2 * self.conic + bits)
            if u["alive"]:
                is_healer = self.heals and u["name"] == "Medivac"
                row[0] = u["health"] / u["health_max"]
                row[1] = (u["energy"] if is_healer else u["cooldown"]) / self.max_cd(u["name"], allies)
                row[2], row[3] = (u["x"] - 16) / 32, (u["y"] - 16) / 32
                if self.sa:
                    row[4] = self.ally_shield(u, allies)
                if self.conic:
                    row[4 + self.sa : 6 + self.sa] = self.looks[i]
                if bits:
                    row[-bits + ALLY_SLOT[self.family][u["name"]]] = 1.0
            out += row
        for v in enemies:
            row = [0.0] * (3 + self.se + bits)
            if v["alive"]:
                row[0:3] = v["health"] / v["health_max"], (v["x"] - 16) / 32, (v["y"] - 16) / 32
                if self.se:
                    row[3] = v["shield"] / SHIELD[v["name"]]
                if bits:
                    row[-bits + ENEMY_SLOT[self.family][v["name"]]] = 1.0
            out += row
        if self.o["state_last_action"]:
            for a in last:
                out += [float(k == a) for k in range(self.A)]
        if self.o["state_timestep_number"]:
            out.append(step / self.limit)
        return np.array(out, dtype=np.float64).astype(np.float32)

    # -- reward and end ------------------------------------------------------------------------------------------

    def start_rewards(self, enemies: list[dict]) -> None:
        total = sum(v["health_max"] + v["shield_max"] for v in enemies)
        self.max_reward = total + self.m * self.o["reward_death_value"] + self.o["reward_win"]

    def end(self, allies: list[dict], enemies: list[dict]) -> int | None:
        """1 won, -1 lost, 0 drawn, None: it goes on."""
        mine = [u["name"] for u in allies if u["alive"]]
        theirs = [v["name"] for v in enemies if v["alive"]]
        mmm = self.family in {"smac": ["MMM"], "smac_comm": ["MMM", "bZ_hM"], "smacv2": ["terran"]}[self.flavour]
        if self.flavour == "smacv2":
            only_medivacs = mmm and all(name == "Medivac" for name in theirs)
        else:
            only_medivacs = mmm and theirs == ["Medivac"]
        if self.flavour == "smac_comm" and self.family == "bZ_hM" and only_medivacs:
            return 1
        if (not mine and theirs) or (mmm and all(name == "Medivac" for name in mine)):
            return -1
        if (mine and not theirs) or only_medivacs:
            return 1
        return 0 if not mine and not theirs else None

    def reward(self, before: tuple, after: tuple) -> float:
        """Reward of a step from one reading of (allies, enemies) to the next; units dead before do not count."""
        o, gain, loss = self.o, 0.0, 0.0
        for old, new in zip(before[1], after[1], strict=True):
            if old["alive"]:
                had = old["health"] + old["shield"]
                gain += had + o["reward_death_value"] if not new["alive"] else had - new["health"] - new["shield"]
        for old, new in zip(before[0], after[0], strict=True):
            if old["alive"]:
                had = old["health"] + old["shield"]
                lost = had + o["reward_death_value"] if not new["alive"] else had - new["health"] - new["shield"]
                loss += lost * o["reward_negative_scale"]
        if o["reward_only_positive"]:
            reward = max(gain, 0) if self.flavour == "smacv2" else abs(gain)
        else:
            reward = gain - loss
        if o["reward_sparse"]:
            reward = 0
        code = self.end(*after)
        if code == 1:
            reward = 1 if o["reward_sparse"] else reward + o["reward_win"]
        if code == -1:
            reward = -1 if o["reward_sparse"] else reward + o["reward_defeat"]
        return reward / (self.max_reward / o["reward_scale_rate"]) if o["reward_scale"] else reward


def inside(i: int, j: int) -> bool:
    return 0 <= i < 32 and 0 <= j < 32
