"""How generated instructions are worded: the tasks, the constraints, and the words and phrases constraints ask for.

Patterns are those of phrasing.py. Their fixed parts are short on purpose: two prompts should differ within every run of
eight words, as prompts by different people do.
"""

from __future__ import annotations

TASKS = (
    "{Write|Compose|Draft} a {short|brief|small|little} {paragraph|text|piece} {about|on} $t{ for $who|}.",
    "Describe $t {to|for} $who.",
    "Explain {to $who |}why $t {is interesting|matters|is special|deserves attention}.",
    "{Tell $who|Tell me} {something|a few things|a bit} about $t.",
    "What should {$who|I|a visitor|one} know about $t?",
    "{Write|Draft|Make} a {social media |short |quick |}post {about|on} $t{ for $who|}.",
    "{Give|Offer} {me|$who} a {short|quick|simple} introduction to $t.",
    "{Summarize|Sum up} {what you know|the basics|the main facts} {about|on} $t{ for $who|}.",
    "{Write|Prepare|Suggest} a caption for {a|my|our} {photo|picture|poster|drawing} of $t.",
    "{Help|Please help} $who {understand|appreciate|get to know} $t.",
    "{Write|Create|Prepare} a {short |}note on $t for {a|our} $venue.",
    "I am {preparing|making|working on} a $work {on|about} $t. {Can|Could} you {write a few lines|give me some text}?",
    "How would you {describe|present|introduce} $t to $who?",
    "Share {some|a few|two or three} {facts|thoughts} {about|on} $t {with|for} $who.",
    "{Write|Give me|Suggest} an {opening|intro} for a $work {about|on} $t.",
    "What makes $t {special|interesting|worth knowing|remarkable}{ for $who|}?",
    "{Write|Draft} a {message|letter|postcard|card} to $name about $t.",
    "My {son|daughter|uncle|niece|boss|neighbor|cousin} {asked me|wants to know} about $t. {What can I say|How should I answer}?",
    "{Teach|Tell} $who about $t in {plain|simple|clear|your own} words.",
    "{Convince|Persuade} $name that $t is {worth a look|interesting|worth some time}.",
    "{Write|Draft} {an entry|an item|a few lines} {about|on} $t for {a|our} $venue.",
    "{Imagine|Suppose} you meet $who. {What would you say|How would you talk} about $t?",
    "{Topic|Subject|Theme}: $t. {Write|Say} something {about it |}for $who.",
    "{What do you think of|What comes to mind}{ first|} when {you|people} {hear|talk} of $t?",
)

WHO = [
    "a child",
    "a new student",
    "my grandmother",
    "some tourists",
    "a curious friend",
    "young readers",
    "my neighbor",
    "beginners",
    "a busy parent",
    "a visitor from Mars",
    "a teenager",
    "our club members",
    "a class of pupils",
    "a shy guest",
    "my little brother",
    "an old sailor",
    "some colleagues",
    "a night nurse",
    "a farmer",
    "the new intern",
    "a retired teacher",
    "a poet",
    "an engineer",
    "my book group",
    "a taxi driver",
]
VENUES = [
    "school newsletter",
    "travel blog",
    "museum wall",
    "local paper",
    "radio show",
    "children's book",
    "club website",
    "town leaflet",
    "company blog",
    "quiz night",
    "class diary",
    "weekly magazine",
    "notice board",
    "reading corner",
    "trivia game",
]
WORKS = [
    "talk",
    "speech",
    "poster",
    "school project",
    "slide show",
    "booklet",
    "podcast",
    "lesson",
    "video",
    "display",
    "brochure",
]
NAMES = [
    "Anna",
    "Ben",
    "Carla",
    "Deniz",
    "Elif",
    "Farah",
    "Goran",
    "Hiro",
    "Ines",
    "Jonas",
    "Kavya",
    "Leon",
    "Mona",
    "Nils",
    "Oksana",
    "Pedro",
    "Rania",
    "Stefan",
    "Thandi",
    "Vikram",
]

# Wordings by constraint id and, where there is one, relation. $reply is "reply", "answer", "response" or "text".
WORDINGS: dict[str, tuple[str, ...]] = {
    "length_constraints:number_words at least": (
        "{Use|Write} at least $n words.",
        "{The|Your} $reply {must|should} {have|contain} at least $n words.",
        "{Make it|It should be} $n words or more.",
        "I need {at least $n|$n or more} words.",
        "{Do not write|Don't write|Give me no} fewer than $n words.",
    ),
    "length_constraints:number_words less than": (
        "{Use|Write} {fewer|less} than $n words.",
        "Keep {it|your $reply|the $reply} {under|below} $n words.",
        "{Use|Write} {no more than|at most} $m words.",
        "{The|Your} $reply {must|should} {have|contain} {fewer|less} than $n words.",
        "Stay {under|below} $n words{, please|}.",
    ),
    "length_constraints:number_sentences at least": (
        "{Use|Write} at least $n sentences.",
        "{The|Your} $reply {must|should} {have|contain} at least $n sentences.",
        "{Make it|It should be} $n sentences or more.",
        "{Do not stop before|Give me no fewer than} $n sentences.",
    ),
    "length_constraints:number_sentences less than": (
        "{Use|Write} {fewer|less} than $n sentences.",
        "Keep {it|your $reply|the $reply} {under|below} $n sentences.",
        "{The|Your} $reply {must|should} {have|contain} {fewer|less} than $n sentences.",
        "Stay {under|below} $n sentences{, please|}.",
    ),
    "keywords:existence": (
        "{Include|Use|Mention} $words{ in {your|the} $reply|}.",
        "{Be sure|Make sure|Remember} to {use|include|mention} $words.",
        "{Work|Fit|Weave} $words into {the|your} $reply.",
        "{The|Your} $reply {must|should} {contain|include|mention} $words.",
    ),
    "keywords:frequency": (
        "{Use|Say|Include} the word $word {at least $n times|$n or more times|$n times or more}.",
        "The word $word {must|should} {appear|show up|occur} at least $n times.",
        "{Mention|Repeat} $word {at least $n times|$n or more times}{ in your $reply|}.",
        "{Your|The} $reply {must|should} {contain|have} $word at least $n times.",
    ),
    "keywords:forbidden_words": (
        "{Do not|Don't|Never} {use|mention|write} $words.",
        "{Avoid|Leave out|Stay away from} $words{ in your $reply|}.",
        "{Write it|Answer|Reply} without {using |}$words.",
        "{Your|The} $reply {must not|should not|may not} {contain|include|use} $words.",
    ),
    "keywords:letter_frequency at least": (
        "The letter $letter {must|should} {appear|occur} at least $n times.",
        "{Use|Include} the letter $letter {at least $n times|$n or more times}.",
        "{Your|The} $reply {must|should} have the letter $letter at least $n times.",
        "I want {to see |}the letter $letter $n times or more.",
    ),
    "keywords:letter_frequency less than": (
        "The letter $letter {must|should} {appear|occur} {fewer|less} than $n times.",
        "Use the letter $letter {fewer|less} than $n times.",
        "{Your|The} $reply {must|should} have the letter $letter {fewer|less} than $n times.",
        "I want {to see |}the letter $letter {fewer|less} than $n times.",
    ),
    "punctuation:no_comma": (
        "{Do not|Don't} use {any |}commas{ in your $reply|}.",
        "{Use no|Leave out all|Avoid all|Avoid} commas.",
        "{Write it|Answer|Reply} without {any commas|a single comma|commas}.",
        "Commas are {not allowed|forbidden|off limits}{ here|}.",
        "{There must be|I want} no commas{ in {the|your} $reply|}.",
    ),
    "change_case:english_lowercase": (
        "{Use|Write in} only {lowercase|small} letters.",
        "{Everything|The whole $reply|All of it} {must|should} be in lowercase{ letters|}.",
        "{Answer|Reply|Write} in {English|plain English}, with no capital letters.",
        "{Answer|Reply} {entirely |}in lowercase{, please|}.",
        "{No|Use no} capital letters{ at all|, please|}.",
    ),
    "change_case:english_capital": (
        "{Use|Write in} only capital letters.",
        "{Everything|The whole $reply|All of it} {must|should} be in capital letters.",
        "{Answer|Reply|Write} in {English|plain English}, with all letters capitalized.",
        "{Answer|Reply} {entirely |}in capital letters{, please|}.",
        "{No|Use no} lowercase letters{ at all|, please|}.",
    ),
    "startend:end_checker": (
        "{End|Finish|Close} {your $reply|it|the $reply} with {the {exact |}{phrase|words}|exactly} $quoted.",
        "The {very |}last words {must|should} be $quoted{ and nothing after|}.",
        "Let $quoted be the {very last|final} words.",
        "Make $quoted the {very last|final} words.",
        "$quoted {must|should} {be|come} {at the very end|last}.",
    ),
    "startend:quotation": (
        "{Wrap|Put|Enclose} {your|the} {whole|entire|full} $reply in double quotation marks.",
        "{Start|Begin} and end with {double quotation marks|a double quotation mark}.",
        "{Everything|All of it|The whole $reply} {must|should} be {inside|within} double {quotation marks|quotes}.",
        "Put double {quotes|quotation marks} around {everything|the whole $reply|all of it}.",
    ),
    "detectable_format:title": (
        "{Add|Include|Give it} a title {wrapped in|inside|in} double angular brackets{, like <<title>>|, such as <<$example>>|}.",
        "{Your|The} $reply {must|should} {have|contain} a title like <<$example>>.",
        "{Start with|Put in|Write} a title in the form <<title>>.",
        "{It needs|I want} a title{ too|}, written as <<{title|$example}>>.",
    ),
    "detectable_format:number_bullet_lists": (
        "{Use|Give|Write} exactly $n bullet points{, each starting with *|, marked with *|}.",
        "{Answer|Reply} {with|in} exactly $n markdown bullet points.",
        "{Your|The} $reply {must|should} {contain|have} exactly $n bullet points{ like: * point|}.",
        "{Format|Write} it as {a list of |}exactly $n bullet points{ with *|}.",
    ),
    "detectable_format:number_highlighted_sections": (
        "{Highlight|Mark} at least $n $parts {with asterisks|in markdown}{,|} like *this*.",
        "At least $n $parts {must|should} be highlighted{ as in *this part*|, like *this*}.",
        "{Put|Set} at least $n $parts between asterisks, {like|as in} *this*.",
        "Use *asterisks* to highlight at least $n $parts.",
    ),
    "detectable_content:postscript": (
        "{Add|Include|Put} a postscript {starting with|that starts with|marked} $marker{ at the end|}.",
        "{End with|Finish with|After the $reply add} a {postscript|note} {starting with|marked} $marker.",
        "{It needs|I want|There should be} a postscript{ at the end|}{, beginning with| that opens with| marked} $marker.",
        "At the end{ of your $reply|}, {add|write} a postscript that {begins|starts} with $marker.",
    ),
    "detectable_content:number_placeholders": (
        "{Use|Include|Leave} at least $n $holders in square brackets{,|} {like|such as} [$hole].",
        "{Your|The} $reply {must|should} {have|contain} {at least $n|$n or more} $holders{,|} such as [$hole].",
        "{I want|There should be|I need} {at least $n|$n or more} $holders{ in square brackets|}, like [$hole].",
        "Leave {room|space}{ for details|} with {at least $n|$n or more} $holders such as [$hole].",
    ),
}  # fmt: skip

# Keywords that a prompt may ask for, with sentences that use them. $T is the topic at a sentence's start.
KEYWORDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("joy wonder hope comfort wisdom balance freedom courage beauty peace energy meaning value charm magic", (
        "There is real $w in $t.", "Many people find $w in $t.", "$T can bring $w to a day.", "Some even see $w in $t.",
    )),
    ("children travelers teachers neighbors artists scientists families students visitors beginners experts friends engineers writers", (
        "$W often talk about $t.", "$T means a lot to many $w.", "Even $w are surprised by $t.", "$W like to learn about $t.",
    )),
    ("remarkable simple colorful gentle surprising ancient modern useful famous precious lively curious important popular amazing", (
        "Most people find $t $w.", "$T can seem $w at first.", "In its own way $t is $w.", "I would call $t $w.",
    )),
    ("morning evening summer weekend holiday journey project hobby lesson conversation picnic birthday", (
        "$T goes well with a good $w.", "Think of $t on your next $w.", "A quiet $w is a fine time for $t.", "It can make any $w better.",
    )),
    ("memory history science nature culture health community imagination tradition knowledge", (
        "$T has a place in our $w.", "It tells us much about $w.", "People who love $w also love $t.", "It adds something to our $w.",
    )),
)  # fmt: skip

# Sentences for a keyword that is one of the topic's own words.
LINKS = (
    "People often link $t with $w.",
    "Think of $w and $t comes to mind.",
    "$T goes with $w.",
    "$T makes me think of $w.",
)

FORBIDDEN = [
    "very",
    "good",
    "great",
    "many",
    "people",
    "important",
    "world",
    "life",
    "also",
    "often",
    "beautiful",
    "because",
    "always",
    "can",
    "most",
    "really",
    "like",
    "time",
    "day",
    "make",
    "help",
    "learn",
    "all",
    "some",
    "new",
    "it",
    "with",
    "from",
]

LETTERS_OFTEN = "wpbkmfyg"
LETTERS_SELDOM = "zqxjvkb"

END_PHRASES = [
    "That is all.",
    "Ask me anything else.",
    "See for yourself.",
    "The end.",
    "What do you think?",
    "Thank you for reading.",
    "Have a lovely day.",
    "Is there anything else I can help with?",
    "Now you know.",
    "I hope this helps.",
    "Try it today.",
    "Take care.",
    "Tell a friend about it.",
    "And so the story goes.",
    "Let me know what you think.",
    "Enjoy every moment.",
    "More to come soon.",
    "Any other questions?",
    "Remember to smile.",
    "Until next time.",
    "It is up to you.",
    "Go and find out.",
    "Never stop learning.",
    "That is my view.",
]

TITLES = [
    "A Short Look at $T",
    "All About $T",
    "$T",
    "The Story of $T",
    "Notes on $T",
    "Why $T Matters",
    "Meet $T",
    "$T in Brief",
    "A Word on $T",
    "Getting to Know $T",
    "The World of $T",
    "In Praise of $T",
]
EXAMPLES = [
    "my title",
    "a good day",
    "the big picture",
    "first steps",
    "a small story",
    "hello world",
    "what we know",
    "in short",
]
HOLES = [
    "name",
    "address",
    "date",
    "place",
    "time",
    "city",
    "email",
    "day",
    "number",
    "street",
    "event",
    "website",
    "price",
    "teacher",
    "friend",
]
HOLE_SENTENCES = (
    "Ask [$h] for more.", "Write to [$h] to find out.", "We meet at [$h] to talk about it.", "Please add your [$h] here.",
    "More details follow on [$h].", "You can reach us at [$h].", "This text was prepared for [$h].", "Signed by [$h].",
)  # fmt: skip
MENTIONS = (
    "$T $s.",
    "$T $s.",
    "$T $s.",
    "We know that $t $s.",
    "Yes, $t $s.",
    "Still, $t $s.",
    "It is true that $t $s.",
    "After all, $t $s.",
)
POSTSCRIPTS = (
    "Write back soon.", "Tell me what you think.", "There is more to say about $t.", "Bring a friend next time.", "I can send more.",
    "Do not forget to look closely.", "It is worth a second look.", "Ask me again tomorrow.", "Keep this note.",
)  # fmt: skip

OPENINGS = (
    "Did you know that $t $s?",
    "Here is the thing: $t $s.",
    "In short, $t $s.",
    "Of course, $t $s.",
    "As you may know, $t $s.",
)
PLAIN = ("$T $s.", "$T $s.", "It $s.", "It $s.", "$T $s and $s2.", "It $s and $s2.")
JOININGS = (
    "It $s as well.", "Besides, it $s.", "What is more, $t $s.", "Many people know that it $s.", "It $s, and it $s2.",
    "Above all, it $s.", "Best of all, $t $s.", "Some say that $t $s.", "Better yet, it $s.", "I like that it $s.",
    "You may have heard that $t $s.", "On top of that it $s.", "One thing is sure: it $s.", "They say it $s.",
)  # fmt: skip
CLOSINGS = (
    "That is why so many people enjoy $t.", "There is always more to find out about $t.", "It is worth a closer look.",
    "No wonder people care about $t.", "Take a closer look one day.", "All this makes $t special.", "Who would not want to know more?",
)  # fmt: skip
