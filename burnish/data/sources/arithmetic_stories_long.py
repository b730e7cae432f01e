"""The three-step stories of the arithmetic problems; see arithmetic_stories.py for how they are written."""

from __future__ import annotations

from burnish.data.sources.arithmetic_stories import LEVEL_1, LEVEL_2, Story

LEVEL_3 = (
    Story("up and down", 3, "a 6..20, b 2..9, c 2..9, d 2..9", (("s = a + b", "$things"), ("u = s - c", "$things"), ("x = u + d", "$things")), (
        "$p has $a $things. $he {finds|buys} $b more, {gives|sells} $c to $r and gets $d from $k. How many {$things |}does $p have now?",
        "{A|The} $box {at the $place |}holds $a $things. $p adds $b, $r takes $c and $k adds $d. How many $things are in the $box?",
    )),
    Story("two kinds", 3, "n 2..5, a 2..7, m 2..5, b 2..7", (("s = n * a", "dollars for $goods"), ("u = m * b", "dollars for $goods2"), ("x = s + u", "dollars in all")), (
        "$p buys $n $goods at $$a each and $m $goods2 at $$b each{ on $day|}. How many dollars does $he {pay|spend} in all?",
        "{At the $place|In a shop}, one $good costs $$a and one $good2 costs $$b. What do $n $goods and $m $goods2 cost $p{ together|}, in dollars?",
    )),
    Story("two kinds change", 3, "n 2..5, a 2..7, b 2..9, k0 2..5", (("s = n * a", "dollars for $goods"), ("u = s + b", "dollars in all"), ("x = pay - u", "dollars back")), (
        "$p buys $n $goods at $$a each and $agood2 for $$b. $he pays with $$pay. How many dollars does $he get back?",
        "With $$pay{ in $his pocket|}, $p {goes to the $place and |}pays for $n $goods at $$a each and $agood2 at $$b. How many dollars are left?",
    ), "pay = k0 * 10"),
    Story("boxes eaten shared", 3, "a 2..6, b 3..8, q 2..7, d 2..5", (("g = a * b", "$foods"), ("s = g - c", "$foods"), ("x = s / d", "$foods each")), (
        "$p has $a $boxes of $b $foods. $he {eats|sells|keeps} $c {$foods |}and shares the rest among $d {friends|children}. How many does each get?",
        "{On $day|At the $place}, $p opens $a $boxes with $b $foods in each. $c are {bad|spoiled}, and $d people share the rest {equally|evenly}. How many {$foods |}does each get?",
    ), "g0 = a * b, s0 = q * d, c = g0 - s0"),
    Story("three people", 3, "a 3..15, b 2..9, c 2..9", (("s = a + b", "$things for $r"), ("u = a + s", "$things together"), ("x = u - c", "$things left")), (
        "$p has $a $things and $r has $b more than $p. They {give|hand} $c {of their |}$things to $k. How many $things do {they|$p and $r} have left {together|in all}?",
        "$r {collects|finds} $b more $things than $p, who {collects|finds} $a. {Together|In the end} they lose $c of them{ at the $place|}. How many are left in total?",
    )),
    Story("two jobs", 3, "a 3..9, b 2..5, c 3..9, d 2..5", (("s = a * b", "dollars"), ("u = c * d", "dollars"), ("x = s + u", "dollars in all")), (
        "$p works $b hours at $$a an hour {on $day|$job} and $d hours at $$c an hour {on $day2|helping $r}. How many dollars does $he earn?",
        "For $job, $p gets $$a an hour, and at the $place $he gets $$c an hour. How {much|many dollars} does $he make with $b hours of the first and $d of the second?",
    )),
    Story("half and pack", 3, "q 2..7, d 2..5, c 2..9", (("h = t / 2", "$foods"), ("s = h - c", "$foods"), ("x = s / d", "$boxes")), (
        "$p has $t $foods. $he {sells|gives away} half of them and {eats|keeps} $c of the rest. The others go into $boxes of $d. How many $boxes {is that|does $he fill}?",
        "{Half|50%} of the $t $foods at the $place are sold. $r takes $c of {those left|the other half}, and $p packs the rest, $d to a $box. How many $boxes are {filled|needed}?",
    ), "s0 = q * d, h0 = s0 + c, t = h0 * 2"),
    Story("discounted", 3, "n 2..6, q 1..4", (("s = n * b", "dollars"), ("u = s / 10", "dollars off"), ("x = s - u", "dollars to pay")), (
        "$p buys $n $goods at $$b each and gets 10% off {the total|everything}. How many dollars does $he pay?",
        "{One|Each} $good is $$b{ at the $place|}. $p takes $n of them with a coupon for 10% off. What does $he pay in dollars?",
    ), "b = q * 10"),
    Story("grown and sold", 3, "a 2..5, b 3..8, c 2..9, d 2..4", (("g = a * b", "$plants"), ("s = g - c", "$plants"), ("x = s * d", "dollars")), (
        "$p {grows|plants} $a rows of $b $plants. $c {of them |}{die|are eaten by rabbits}. $he sells the {rest|others} {at the $place |}for $$d each. How many dollars does $he get?",
        "Of $a rows with $b $plants each, $p gives $c $plants to $r and sells the rest at $$d each{ on $day|}. How many dollars {is that|does $he earn}?",
    )),
    Story("second pace", 3, "a 2..9, b 2..5, q 2..5, c 2..9", (("s = a * b", "$units"), ("u = t - s", "$units left"), ("x = u / c", "days")), (
        "$p has $t $units to $do. $he $does $a a day for $b days, then $c a day. How many more days does $he need?",
        "Of $t $units, $p $does $a a day for $b days. After that $he $does $c a day. How many days does the rest take?",
    ), "s0 = a * b, u0 = q * c, t = s0 + u0"),
    Story("saving up", 3, "b 2..15, d 2..10, q 2..6, c 2..6", (("s = t - b", "dollars"), ("u = s - d", "dollars to save"), ("x = u / c", "weeks")), (
        "$p wants $agood for $$t. $he has $$b, gets $$d from $r and saves $$c a week. How many weeks does it take?",
        "One $good costs $$t. With $$b {saved|in the bank} and a gift of $$d{ from $r|}, how many weeks must $p save $$c a week?",
    ), "u0 = q * c, s0 = u0 + d, t = s0 + b"),
    Story("bus", 3, "a 8..25, b 2..9, c 2..9", (("s = a - b", "people"), ("u = s + c", "people"), ("x = u / 2", "people")), (
        "{A|The} {bus|train|boat} to the $place has $a people. $b get off, $c get on, and then half of them leave with $p. How many {people |}{leave|is that}?",
        "$a people {are|wait} at the $place. $b go home, $c {arrive|come} with $r, and half of {all these|the people there} {sit|sit down}. How many people sit down?",
    )),
    Story("both ways", 3, "a 2..9, b 2..9, n 2..4", (("s = a + b", "kilometers one way"), ("u = s * 2", "kilometers a day"), ("x = u * n", "kilometers")), (
        "{To get to|On the way to} the $place, $p $rides $a kilometers to $r's house and $b kilometers more. $he goes there and back on $n days. How many kilometers is that?",
        "From home to the $place it is $a kilometers by road and $b by path. $p goes both ways each day. How many kilometers {is that|does $he do} in $n days?",
    )),
    Story("pizza party", 3, "a 2..8, b 2..8, c 2..3, d 2..6", (("s = a + b", "people"), ("u = s * c", "pieces"), ("x = u / d", "cakes")), (
        "$p invites $a {adults|friends} and $b children {on $day|to the $place}. Each eats $c pieces of cake. A cake has $d pieces. How many cakes {are needed|does $he need}?",
        "{A|The} party {at the $place |}has $a girls and $b boys. {Each|Every} child gets $c pieces of cake and {each|one} cake gives $d pieces. How many cakes does $p need?",
    ), unseen=True),
    Story("score", 3, "a 2..6, b 2..8, c 2..9, d 2..9", (("s = a * b", "points"), ("u = s + c", "points"), ("x = u - d", "points")), (
        "$p scores $b points in each of $a games. $he gets $c bonus points {on $day |}and loses $d. How many points {does $he have|is that}?",
        "{In a game with $r|At the $place}, $p wins $a rounds for $b points each, then gains $c points and loses $d. What is $p's score?",
    ), unseen=True),
)  # fmt: skip

STORIES = LEVEL_1 + LEVEL_2 + LEVEL_3
