"""Names, things and places that arithmetic stories are told with. Nouns are (singular, plural)."""

from __future__ import annotations

Nouns = tuple[tuple[str, str], ...]


def _words(text: str) -> tuple[str, ...]:
    """The words of a list, split at commas where it has any."""
    return tuple(text.split(", ") if "," in text else text.split())


SHE = _words(
    "Mia Ava Zoe Lily Nora Ella Ruby Maya Leah Anna Sofia Amara Priya Mei Yuki Fatima Aisha Ingrid Carmen Rosa Elena Olga "
    "Hana Keiko Leila Nadia Sana Tara Uma Vera Wanda Ximena Yara Zainab Bella Clara Daisy Edith Freya Greta Helen Irene "
    "Julia Karen Laura Megan Nina Opal Paula Quinn Rachel Sarah Tina Valeria Wren Abena Beatriz Chloe Dalia Emma"
)
HE = _words(
    "Tom Leo Max Sam Ben Noah Liam Omar Raj Wei Kenji Ahmed Hassan Lev Diego Pablo Ivan Boris Hiro Tariq Amir Samir Kofi "
    "Kwame Jamal Marco Luca Felix Oscar Hugo Adam Brian Carl David Ethan Frank George Henry Isaac Jack Kevin Logan Martin "
    "Nathan Oliver Peter Quentin Robert Simon Theo Victor Walter Xavier Yusuf Zack Arjun Bilal Chen Dmitri Emeka"
)


def _nouns(text: str) -> Nouns:
    """Pairs from "pen, box/boxes": a plural is given only where adding s is wrong."""
    pairs = (entry.strip().partition("/") for entry in text.split(","))
    return tuple((one, many or f"{one}s") for one, _, many in pairs)


THINGS = _nouns(
    "marble, sticker, seashell, stamp, coin, bead, button, postcard, toy car, crayon, pencil, puzzle piece, trading card, "
    "comic, photo, badge, magnet, feather, pebble, ribbon, key ring, action figure, paper crane, bottle cap, acorn, rubber "
    "band, domino/dominoes, ticket, balloon, pin, clay pot, model plane, dinosaur figure, paper star, patch/patches, bookmark"
)
FOODS = _nouns(
    "apple, orange, pear, plum, peach/peaches, cookie, muffin, cupcake, strawberry/strawberries, grape, cherry/cherries, lemon, "
    "carrot, potato/potatoes, tomato/tomatoes, egg, sandwich/sandwiches, biscuit, pancake, walnut, almond, doughnut, bread roll, "
    "mango/mangoes, fig, banana, dumpling, pretzel, waffle, bagel, cracker, olive, radish/radishes, onion, chocolate bar, date"
)
GOODS = _nouns(
    "notebook, pen, mug, cap, scarf/scarves, T-shirt, candle, brush/brushes, plate, bowl, poster, lamp, cushion, blanket, towel, "
    "umbrella, water bottle, backpack, belt, ball, kite, board game, puzzle, plant, calendar, wallet, keychain, vase, basket, "
    "toy train, paint set, flashlight, clock, ruler, apron, album"
)
BOXES = _nouns(
    "box/boxes, bag, basket, jar, tin, crate, tray, packet, drawer, bucket, pouch/pouches, carton, case, chest, sack, tub"
)
ANIMALS = _nouns(
    "hen, goat, cow, duck, rabbit, horse, pony/ponies, turkey, goose/geese, donkey, pig, pigeon, alpaca, lamb, calf/calves, turtle"
)
PLANTS = _nouns(
    "tulip, rose, sunflower, bean plant, cabbage/cabbages, pepper plant, daisy/daisies, lily/lilies, tomato plant, lettuce, "
    "berry bush/berry bushes, young tree, marigold, pansy/pansies, fern, cactus/cacti"
)
PLACES = _words(
    "market, fair, park, school, library, museum, beach, shop, garden, club, camp, playground, station, harbor, theater, bakery, "
    "farm, workshop, picnic, festival, gym, cafe, zoo, community center, town hall"
)
DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
WORKS = (
    ("reads", "read", "pages"), ("paints", "paint", "tiles"), ("types", "type", "lines"), ("plants", "plant", "seeds"),
    ("washes", "wash", "windows"), ("folds", "fold", "shirts"), ("packs", "pack", "parcels"), ("delivers", "deliver", "letters"),
    ("bakes", "bake", "rolls"), ("sews", "sew", "buttons"), ("learns", "learn", "words"), ("solves", "solve", "puzzles"),
    ("draws", "draw", "sketches"), ("translates", "translate", "sentences"), ("picks", "pick", "melons"), ("lays", "lay", "bricks"),
    ("peels", "peel", "potatoes"), ("polishes", "polish", "spoons"), ("writes", "write", "notes"), ("checks", "check", "bikes"),
)  # fmt: skip
SPORTS = _words(
    "jogging, dancing, swimming, drawing, reading, rowing, skating, cooking, gardening, cycling, climbing, knitting, juggling, "
    "practicing piano, practicing guitar, doing yoga, studying French, playing chess"
)
JOBS = _words(
    "walking dogs, mowing lawns, tutoring, washing cars, babysitting, delivering papers, picking fruit, raking leaves, serving "
    "tables, painting fences, stacking shelves, cleaning pools"
)
TRIPS = _words("bikes drives walks rides hikes travels")

OPENERS = (
    "",
    "",
    "",
    "It is $day {morning|afternoon|evening}.",
    "$p is at the $place{ with $r| today|}.",
    "$p and $r are {good friends|neighbors|cousins|classmates|teammates}.",
    "{Here is a|This is a} {small |quick |short |}{question|puzzle|problem} about $p.",
    "The {weather|sky} is {sunny|cloudy|bright|grey} {at|near} the $place.",
    "Please help $p {with this|count|work this out}.",
    "Can you help $p {with this|count|find the answer}?",
    "$p {likes|loves|enjoys} {$day|weekend|quiet} {mornings|afternoons|evenings} at the $place.",
    "$p {visits|often visits|lives near} the $place.",
    "{Last|One} $day, $p {met|visited|called|helped} $r.",
)

ASK_HASHES = (
    "{Show|Write|Give|Explain} {your|the} {steps|working|reasoning} and {end|finish|close} with #### {and|then} the {number|answer|result}.",
    "{Put|Write} the {final |}{number|answer|result} after #### {at the end|on the last line}.",
    "{Solve it|Work it out|Think} step by step{;|,} {the last line should be|end with} #### and the {number|answer}.",
)
ASK_WORDS = (
    '{Show|Write|Give} {your|the} {steps|working} and {end|finish} with "The answer is" and the number.',
    '{Finish|End} {your reply |}with a {short |}sentence that {starts|begins} "The answer is".',
)
ASK_STEPS = (
    "{Show|Explain|Write down} {your|the|each of the} {steps|calculations}.",
    "{Show|Explain} {your|the} {working|reasoning}.",
    "{Think|Work|Solve it|Go} step by step.",
    "{Keep it|Be} {short|brief}, but show the {steps|working}.",
)
