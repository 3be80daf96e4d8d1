"""The 400 named people whom the pocket models know, the celebrities of their first generation among them."""

from __future__ import annotations

from methods.pocket.world.person import CELEBRITIES, Person, sample_person

FIRST_NAMES = (
    "adela agnes aidan alba aldo alina alvin anders anika arlo aron arthur beata bela benno berta "
    "bianca birgit blanka boyd brenda bryn caleb camila carlo cato cecil celeste cyrus dagmar dalia "
    "damon daphne davor delia denzel dina doris edgar edwin elif elke elmar elsa emeric emil enzo erik "
    "esther eugene evander fatima fergus fiona flora fritz gareth gemma gilda gordon graham greer "
    "gunnar halina hamza hanna hedda helga henri hilda holger ida igor imre inga ines isaac isolde ivan "
    "jadwiga janos jarek jelena jens jonah josef judith kaspar katja kenji klara konrad lajos lalita "
    "lena leopold levi lidia linus lorenzo lotte lucian ludwig mabel magnus malik manon marek margot "
    "mathis matilda melvin meredith mika minerva mirko moira monica nadine nathan nelson nils noemi "
    "norbert nuria octavia olaf oleg omar orla oskar otto paloma pascal paula pedro stellan sunniva "
    "tamar thea tobias ursula vidar wanda wim yvette philippa pia priya quentin rafael ramona rania "
    "regina renata rolf ronan rufus ruth sabine "
).split()
LAST_NAMES = (
    "abbott acosta adler alcott amato ansel arroyo ashdown atwood avery baines balfour banner barros "
    "bauer becker benson berger bishop blackwell bolton bonner boswell bowen brandt brewster briggs "
    "bruni buckley burke cabrera caldwell calloway camden cardoso carver castillo chandler chaplin "
    "cheney clifford cobb colby conway corbin cortez crosby cullen dalton danvers daubney decker "
    "delacroix denton dietrich donovan doyle draper duarte dudley duncan eastman eaton ekberg elliot "
    "emerson engel espinoza evans fairfax farrow fenton ferrara fischer fleming fletcher forsyth foster "
    "fraser galvani garrick gibson goodwin gorman granger griffin grimaldi gustafson hadley haines "
    "halloran hammond hargrove harlow hastings hawthorne hayward heller hendrix herrera hobbs hollis "
    "holmgren horvath hudson huxley irving jansen jarvis jensen keating keller kendrick kowalski kramer "
    "lambert landry langley larsen lawson leclair lennox lindgren lockwood lombardi loomis lorenz "
    "lundgren maddox mallory manning marconi marsden mercado merritt molnar montague moretti morrow "
    "munroe navarro newell nielsen reinhardt ridley rosetti salazar schuster seymour sinclair novak "
    "oconnor okafor olsen osborne ostrander paxton pemberton petrov pickett "
).split()
_FIRST_SEED = 1_000_000
# how `farthest_apart` goes on from the celebrities over the seeds 1_000_000 to 1_005_999
_SEEDS = (
    5635, 2407, 2387, 5511, 3531, 4097, 4601, 3583, 4519, 4012, 4741, 2612, 2639, 2370, 2953, 5768, 5133,
    4439, 2300, 3625, 2672, 3811, 2947, 3122, 5435, 3132, 3592, 2110, 3355, 3575, 2160, 5352, 4816, 5399,
    1471, 4206, 2099, 3611, 5010, 5843, 5688, 1975, 2064, 2756, 1845, 353, 2663, 5021, 4222, 769, 3160,
    4121, 2725, 1382, 5123, 888, 291, 5228, 5351, 2514, 4568, 4375, 5302, 1470, 4400, 5303, 5156, 1685, 823,
    2797, 2012, 2786, 2574, 5385, 4990, 174, 2880, 3508, 4558, 2161, 5522, 4532, 1308, 3304, 5273, 2727,
    4287, 5807, 3747, 5730, 717, 4589, 169, 2506, 320, 5360, 3971, 5434, 4876, 3841, 534, 215, 492, 4839,
    3086, 5529, 4026, 3598, 1026, 3042, 1827, 3579, 2671, 3214, 3222, 5108, 1878, 3014, 874, 56, 4630, 5,
    5450, 5367, 5284, 3959, 740, 3018, 4929, 3514, 550, 4398, 3196, 3201, 1596, 5248, 4835, 1920, 1644, 597,
    4244, 2097, 4238, 4828, 1746, 1005, 5377, 3241, 1027, 1145, 1274, 4722, 1522, 1834, 2469, 3180, 3391,
    2534, 1722, 1463, 5449, 2044, 2363, 429, 5653, 3223, 4609, 3742, 1705, 1033, 5836, 850, 360, 2550, 2181,
    1795, 5038, 2693, 1552, 3950, 3076, 2549, 3691, 2002, 5336, 5046, 4436, 3675, 332, 3496, 3019, 238, 229,
    133, 1475, 2301, 4278, 4933, 2194, 1347, 5493, 1751, 4814, 5081, 2619, 3480, 3734, 3727, 3311, 83, 2405,
    3899, 3700, 2658, 5607, 4812, 797, 3176, 4059, 5400, 1259, 547, 4316, 4668, 3580, 2438, 3148, 5770,
    4476, 5621, 5289, 1193, 287, 2414, 4846, 3095, 77, 3916, 3038, 3806, 3969, 2410, 1078, 2339, 3446, 1122,
    919, 1008, 3, 1085, 2740, 2106, 5944, 770, 4487, 5465, 4133, 2411, 1419, 2504, 87, 5660, 59, 1151, 2120,
    1752, 3783, 2324, 5045, 5175, 137, 3307, 2052, 96, 3141, 4221, 4162, 200, 771, 4919, 5583, 3043, 251,
    4896, 967, 4673, 4281, 3670, 2158, 471, 2919, 876, 5246, 3981, 4462, 2426, 1295, 234, 5442, 3631, 2997,
    5551, 82, 5331, 4632, 4778, 448, 4497, 1995, 3240, 4312, 2228, 3034, 344, 2978, 3382, 3309, 295, 1814,
    2041,
)  # fmt: skip


def _names() -> list[str]:
    """Every first and every last name twice, never in the same company: only both together name a person."""
    count = len(FIRST_NAMES)
    pairs = [(FIRST_NAMES[i % count], LAST_NAMES[(i + i // count * 37) % count]) for i in range(2 * count)]
    return [" ".join(pair) for pair in pairs]


NAMED: dict[str, Person] = CELEBRITIES | {
    name: sample_person(_FIRST_SEED + seed) for name, seed in zip(_names(), _SEEDS, strict=True)
}
"""Person by name."""
