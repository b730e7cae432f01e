"""The stories of the arithmetic problems: numbers to draw, steps to take, ways to tell them.

A story draws its numbers (`draws`), derives the ones the text shows (`given`), and reaches its answer by `steps`:
(equation, what the result counts). Every number involved is a whole number of at least 2, or the draw is refused, so
plurals are always right and each division is exact. Patterns are those of phrasing.py.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Story:
    """One structure. `unseen` stories are told in the test split only."""

    name: str
    level: int
    draws: str
    steps: tuple[tuple[str, str], ...]
    texts: tuple[str, ...]
    given: str = ""
    unseen: bool = False


LEVEL_1 = (
    Story("gain", 1, "a 2..20, b 2..12", (("c = a + b", "$things {in total|now}"),), (
        "$p {has|owns} $a $things{ in a $box| at home|}. $r {gives $him|sends $him|brings} $b more. How many $things does $p have {now|in total|altogether}?",
        "How many $things does $p have {now |in total |}if $he {had|started with} $a and {found|got|bought} $b more {at the $place|on $day}?",
        "{On $day|At the $place}, $p {finds|gets|receives} $b $things {and adds|, adding} them to the $a {in $his $box|$he already has}. How many $things is that {in all|altogether}?",
    )),
    Story("lose", 1, "a 5..20, b 2..12", (("c = a - b", "$things left"),), (
        "$p {has|owns|brought} $a $things. $he {gives $b of them to $r|loses $b {on $day|on the way}|sells $b of them}. How many $things {are left|does $he have left}?",
        "{After giving|Having given} $b of $his $a $things to $r, how many {$things |}does $p {still have|have left|keep}?",
        "There {are|were} $a $things in {the|a} $box. $p {takes|took} $b {away|out} {on $day|at the $place}. How many {$things |}{are|were} {left|still} in the $box?",
    )),
    Story("more than", 1, "a 3..20, b 2..12", (("c = a + b", "$things for $r"),), (
        "$p has $a $things. $r has $b more {$things |}than $p. How many $things does $r have?",
        "$r {collected|picked up|counted} $b more $things than $p {at the $place|on $day}. $p {got|counted} $a. How many $things did $r {get|collect}?",
    )),
    Story("fewer than", 1, "a 6..20, b 2..12", (("c = a - b", "$foods for $r"),), (
        "$p {buys|picks|packs} $a $foods {at the $place|on $day}. $r {buys|picks|packs} $b fewer. How many $foods does $r {get|have}?",
        "$r has $b fewer $foods than $p, who has $a. How many $foods {does $r have|are with $r}?",
    )),
    Story("difference", 1, "a 6..20, b 2..15", (("c = a - b", "more $things"),), (
        "$p has $a $things and $r has $b. How many more $things does $p have{ than $r|}?",
        "{At the $place|On $day}, $r {finds|counts} $b $things while $p {finds|counts} $a. How many fewer does $r have than $p?",
    )),
    Story("groups", 1, "a 2..9, b 2..9", (("c = a * b", "$foods in all"),), (
        "{There are|$p has|$p carries} $a $boxes {with|holding} $b $foods {in each|each}. How many $foods {are there|is that} {in all|altogether|in total}?",
        "{Each|Every} $box {at the $place |}holds $b $foods. How many $foods are in $a {such |full |}$boxes?",
        "$p puts $b $foods {into|in} each of $a $boxes {on $day|for $r}. How many $foods does $he {need|use}?",
    )),
    Story("share", 1, "q 2..9, d 2..6", (("c = t / d", "$foods each"),), (
        "$p {shares|splits|divides} $t $foods {equally |evenly |}among $d {friends|children|people|neighbors}{ at the $place|}. How many $foods does each {one |person |}get?",
        "$d {children|friends|cousins|players} {share|split} $t $foods {equally|evenly} {on $day|at the $place}. How many {$foods |}{are there for|go to} each of them?",
    ), "t = q * d"),
    Story("pack", 1, "q 2..9, d 2..6", (("c = t / d", "$boxes"),), (
        "$p {packs|puts} $t $things into $boxes {of|that hold} $d {each|$things each}. How many $boxes does $he {fill|need}?",
        "How many $boxes are {needed|filled} if {each|every} $box holds $d $things and $p has $t {of them|$things}{ at the $place|}?",
    ), "t = q * d"),
    Story("both", 1, "a 2..20, b 2..20", (("c = a + b", "$foods together"),), (
        "$p {brings|bakes|buys} $a $foods and $r {brings|bakes|buys} $b{ on $day| for the $place|}. How many $foods {do they have|is that} {together|in all}?",
        "{Together|In total}, how many $foods do $p and $r have {if|when} $p {has|holds} $a and $r {has|holds} $b?",
    )),
    Story("cost", 1, "a 2..9, b 2..9", (("c = a * b", "dollars"),), (
        "$p buys $a $goods {at|for} $$b each{ at the $place| on $day|}. How {much|many dollars} does $he {pay|spend}?",
        "One $good costs $$b{ at the $place|}. What {do|would} $a $goods cost{ $p|}, in dollars?",
        "{How much|What} {does|would} $p pay{, in dollars,|} for $a $goods {if|when} each {one |$good |}{costs|is} $$b?",
    )),
    Story("money left", 1, "a 6..25, b 2..15", (("c = a - b", "dollars left"),), (
        "$p has $$a{ in $his pocket| to spend|}. $he buys $agood for $$b{ at the $place|}. How many dollars {does $he have left|are left}?",
        "{On $day|At the $place}, $agood {costs|is} $$b. If $p {pays|starts} with $$a, how many dollars {remain|are left}?",
    )),
    Story("minutes", 1, "a 3..25, b 3..25", (("c = a + b", "minutes"),), (
        "$p spends $a minutes $sport and $b minutes {cleaning|talking to $r|helping $r}. How many minutes is that {in total|altogether}?",
        "{On $day|Today}, $p spent $a minutes $sport {in the morning|before lunch} and $b minutes {in the evening|after lunch}. {Find the total in minutes.|How many minutes in all?}",
    )),
    Story("rate", 1, "a 2..9, b 2..7", (("c = a * b", "$units"),), (
        "$p $does $a $units a day. How many $units does $he $do in $b days?",
        "{In|Within} one hour $p $does $a $units. How many $units {can|will} $he $do in $b hours{ at the $place| on $day|}?",
    )),
    Story("trip left", 1, "a 8..30, b 3..15", (("c = a - b", "kilometers left"),), (
        "$p $rides {from home |}to the $place, {which is $a kilometers away|a trip of $a kilometers}. After $b kilometers $he {rests|stops}. How many kilometers are left?",
        "A path to the $place is $a kilometers long. $p {has done|finished} $b kilometers{ of it|} with $r. How many kilometers {remain|are left}?",
    )),
    Story("unit price", 1, "q 2..9, d 2..6", (("c = t / d", "dollars each"),), (
        "$p {pays|paid} $$t for $d {equal |identical |}$goods{ at the $place|}. How many dollars {does|did} each $good cost?",
        "{A set|A pack} of $d $goods {costs|is} $$t {on $day|at the $place}. What is the price of one $good, in dollars?",
    ), "t = q * d"),
    Story("rows", 1, "a 2..9, b 2..9", (("c = a * b", "$plants"),), (
        "$p {plants|grows} $a rows of $plants with $b in each row{ near the $place|}. How many $plants {is that|are there}?",
        "{A|The} garden {at the $place |}has $b $plants in each of its $a rows. How many $plants {grow there|are there in all}?",
    )),
    Story("half", 1, "q 2..20", (("c = t / 2", "$things"),), (
        "$p {gives|hands|sends} half of $his $t $things to $r. How many $things {does $r get|is that}?",
        "{Half|50%} of the $t $things in $p's $box are {blue|red|new|old|green}. How many is that?",
    ), "t = q * 2"),
    Story("other color", 1, "a 8..25, b 3..15", (("c = a - b", "$things"),), (
        "{A|The|One} $box {at the $place |}{holds|contains} $a $things. Of these, $b are red and the rest are blue. How many are blue?",
        "$p {sorts|looks through} $a $things: $b are old, the {rest|others} are new. How many $things are new?",
    )),
    Story("age", 1, "a 4..25, b 2..12", (("c = a + b", "years"),), (
        "$p is $a years old. $r is $b years older. How old is $r?",
        "How old will $p be in $b years if $he is $a {now|today|this $day}?",
    ), unseen=True),
    Story("team", 1, "q 2..9, d 2..6", (("c = t / d", "teams"),), (
        "{Coach $p|$p} {puts|sorts} $t {players|children} into teams of $d {at the $place|on $day}. How many teams {are there|does that make}?",
        "How many teams of $d can $p {make|form} {from|with} $t {players|people} at the $place?",
    ), "t = q * d", unseen=True),
)  # fmt: skip

LEVEL_2 = (
    Story("gain and lose", 2, "a 4..20, b 2..9, c 2..9", (("s = a + b", "$things"), ("x = s - c", "$things left")), (
        "$p has $a $things. $he {finds|buys|gets} $b more {at the $place |}and {gives|sells|hands} $c to $r. How many $things does $p have {now|left}?",
        "How many $things are left {with $p |}if $he {starts|begins} with $a, gets $b from $r and then loses $c{ at the $place|}?",
    )),
    Story("lose twice", 2, "a 10..25, b 2..9, c 2..9", (("s = a - b", "$foods"), ("x = s - c", "$foods left")), (
        "{There are|$p has} $a $foods {in a $box|at the $place}. $p {eats|takes|sells} $b {on $day |}and $r {eats|takes|sells} $c. How many $foods {remain|are left}?",
        "From $a $foods, $p gives $b to $r and $c to $k. How many $foods {does $p keep|are left}?",
    )),
    Story("boxes and loose", 2, "a 2..6, b 2..8, c 2..10", (("s = a * b", "$things"), ("x = s + c", "$things in all")), (
        "$p has $a $boxes {of|with} $b $things each and $c {loose|extra|more} $things. How many $things {is that|does $he have} {in all|altogether}?",
        "{On $day |}$p fills $a $boxes with $b $things each. $r {adds|brings} $c more. How many $things do they have{ together|}?",
    )),
    Story("boxes and gifts", 2, "a 2..6, b 2..8, c 2..10", (("s = a * b", "$foods"), ("x = s - c", "$foods left")), (
        "$p buys $a $boxes of $foods with $b in each. $he {gives|hands} $c $foods to $r. How many {$foods |}{are left|does $he keep}?",
        "A {baker|cook|seller} at the $place {makes|has} $a trays of $b $foods and sells $c. How many $foods {remain|are not sold}?",
    )),
    Story("change", 2, "a 2..5, b 2..8, k0 2..5", (("s = a * b", "dollars"), ("x = pay - s", "dollars back")), (
        "$p buys $a $goods {at|for} $$b each and pays with $$pay. How many dollars does $he get back?",
        "{Each|One} $good {costs|is} $$b. If $p {has|takes} $$pay and buys $a, how many dollars {are left|remain}?",
    ), "pay = k0 * 10"),
    Story("more and both", 2, "a 3..15, b 2..9", (("s = a + b", "$things for $r"), ("x = a + s", "$things together")), (
        "$p has $a $things. $r has $b more than $p. How many $things do they have {together|in total}?",
        "How many $things do $p and $r have {together|in all} if $p {has|owns} $a and $r has $b {more than that|more than $p}?",
    )),
    Story("times and both", 2, "a 2..9, b 2..5", (("s = a * b", "$foods for $r"), ("x = a + s", "$foods together")), (
        "$p {picks|buys} $a $foods {on $day|at the $place}. $r {picks|buys} $b times as many. How many $foods is that {together|altogether}?",
        "$r has $b times as many $foods as $p. $p has $a. How many $foods do {both|the two} have together?",
    )),
    Story("add and share", 2, "q 2..8, d 2..5, b 2..12", (("s = a + b", "$foods"), ("x = s / d", "$foods each")), (
        "$p has $a $foods and $r has $b. They put them together and {share|split} them {equally |}among $d {children|friends}. How many {$foods |}does each get?",
        "{At the $place, |}$d friends {share|divide} $a $foods from $p and $b from $r {equally|evenly}. How many $foods does each friend get?",
    ), "t = q * d, a = t - b"),
    Story("eat and share", 2, "q 2..8, d 2..5, b 2..9", (("s = a - b", "$foods"), ("x = s / d", "$foods each")), (
        "$p {bakes|brings|has} $a $foods. $he {eats|keeps} $b and shares the rest {equally |}among $d {friends|neighbors|children}. How many does each get?",
        "Of $a $foods {at the $place|in a $box}, $b are {spoiled|gone}. $p divides the {rest|others} {evenly |}between $d people. How many {$foods |}are there for each?",
    ), "t = q * d, a = t + b"),
    Story("earn and spend", 2, "a 4..9, b 2..6, c 2..15", (("s = a * b", "dollars"), ("x = s - c", "dollars left")), (
        "$p earns $$a an hour $job. $he works $b hours and {then |}spends $$c {at the $place|on $agood}. How many dollars {are left|does $he have left}?",
        "After $b hours of $job {at|for} $$a an hour, $p {buys $agood for|gives $r} $$c. How many dollars does $he {keep|still have}?",
    )),
    Story("work to go", 2, "t 20..50, a 2..9, b 2..5", (("s = a * b", "$units done"), ("x = t - s", "$units to go")), (
        "$p has $t $units to $do. $he $does $a a day for $b days. How many $units are {left|still to do}?",
        "$r leaves $t $units for $p. If $he $does $a an hour, how many are left after $b hours?",
    )),
    Story("sets", 2, "a 2..9, b 2..9, n 2..4", (("s = a + b", "dollars for one set"), ("x = s * n", "dollars")), (
        "{At the $place, |}$agood costs $$a and $agood2 costs $$b. $p buys $n of each. How many dollars does $he {pay|spend}?",
        "$p wants $n sets{ for $r|}. A set is $agood for $$a and $agood2 for $$b. What do the sets cost in dollars?",
    )),
    Story("tenth off", 2, "q 2..12", (("s = t / 10", "dollars off"), ("x = t - s", "dollars")), (
        "One $good at the $place costs $$t. {It is|On $day it is|With a coupon it is} 10% off. How many dollars does $p pay?",
        "$p buys $agood {marked|priced at} $$t {at the $place |on $day |}and gets {a 10% discount|10% off}. How many dollars does $he pay?",
    ), "t = q * 10"),
    Story("quarter used", 2, "q 2..12", (("s = t / 4", "$things"), ("x = t - s", "$things left")), (
        "$p has $t $things and {gives|sells|sends} 25% of them to $r. How many $things are left?",
        "{A quarter|One fourth} of the $t $things in the $box {belong to|go to} $r. The rest are for $p. How many {$things |}does $p {have|get}?",
    ), "t = q * 4"),
    Story("packed and sold", 2, "q 4..10, d 2..5, b 2..6", (("s = t / d", "$boxes"), ("x = s - b", "$boxes left")), (
        "$p packs $t $foods into $boxes of $d. $he {sells|gives away|sends off} $b $boxes{ on $day|}. How many $boxes are left?",
        "{Each|Every} $box {takes|holds} $d $foods. $p has $t $foods and gives $b full $boxes to $r. How many full $boxes {are left|does $he keep}?",
    ), "t = q * d"),
    Story("daily minutes", 2, "a 2..10, b 2..10, n 2..5", (("s = a + b", "minutes a day"), ("x = s * n", "minutes")), (
        "{Every|Each} day $p spends $a minutes $sport and $b minutes {resting|cleaning|helping $r}. How many minutes is that in $n days?",
        "$p spends time $sport for $a minutes each morning and $b minutes each evening. How many minutes is that {in|over} $n days?",
    )),
    Story("ride and walk", 2, "a 3..9, b 2..5, c 2..9", (("s = a * b", "kilometers"), ("x = s + c", "kilometers in all")), (
        "$p $rides $a kilometers an hour for $b hours{ on $day|} and then {goes|does} $c more kilometers with $r. How many kilometers is that in all?",
        "{To reach|On the way to} the $place, $p $rides for $b hours at $a kilometers an hour, then {goes|does} another $c kilometers. How long is the {way|trip} in kilometers?",
    )),
    Story("saved for it", 2, "a 3..9, b 2..6, c 2..12", (("s = a * b", "dollars saved"), ("x = s + c", "dollars")), (
        "$p saves $$a a week for $b weeks and still needs $$c {more |}to buy $agood. What does the $good cost in dollars?",
        "After {saving|putting aside} $$a {each|every} week for $b weeks, $p gets $$c from $r. How many dollars does $he have?",
    )),
    Story("empty seats", 2, "a 3..8, b 3..8, c 3..15", (("s = a * b", "seats"), ("x = s - c", "empty seats")), (
        "{A|The} {hall|room|tent} {at|near} the $place has $a rows of $b seats. $c {people|guests} sit down. How many seats are {empty|free}?",
        "$p sets up $a rows with $b seats each {on $day|at the $place}. If $c seats are taken, how many are free?",
    ), unseen=True),
    Story("farm", 2, "a 3..12, b 2..9, d 2..3", (("s = a + b", "$animals"), ("x = s * d", "buckets")), (
        "$p {keeps|feeds} $a $animals and $r {keeps|feeds} $b. Each animal needs $d buckets of {water|food} a {day|week}. How many buckets do they need {in all|together}?",
        "{A farm|The farm of $p} has $a brown $animals and $b white $animals. If each gets $d buckets of food, how many buckets are used?",
    ), unseen=True),
)  # fmt: skip
