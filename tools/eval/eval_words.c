/* eval_words.c: the words that keys are made of. Sorted, distinct; changing them changes every
 * sample that names one. */
#include "eval/eval_text.h"

/* clang-format off */
static const char *const nouns[] = {
    "acorn", "album", "alley", "almond", "amber", "anchor", "ankle", "apple", "apron", "arch",
    "arena", "armor", "arrow", "atlas", "attic", "autumn", "axle", "badge", "bagel", "baker",
    "bamboo", "banana", "banjo", "barley", "barn", "barrel", "basin", "basket", "bay", "beach",
    "bead", "beak", "bean", "beard", "beast", "beetle", "bell", "belt", "bench", "berry",
    "bishop", "blanket", "blossom", "boat", "bonnet", "border", "bottle", "boulder", "bowl",
    "bracket", "branch", "brass", "bread", "breeze", "brick", "bridge", "broom", "brother",
    "bubble", "bucket", "buckle", "bud", "buffalo", "bugle", "bundle", "butcher", "button",
    "cabin", "cable", "cactus", "camel", "camera", "canal", "candle", "candy", "canoe",
    "canyon", "captain", "caravan", "carbon", "cargo", "carpet", "carrot", "cart", "castle",
    "cave", "cedar", "cellar", "cello", "cement", "chain", "chair", "chalk", "chapel", "cheek",
    "cheese", "cherry", "chest", "chicken", "chimney", "church", "cider", "cinema", "circle",
    "circus", "city", "clam", "clay", "cliff", "cloak", "clock", "cloud", "clover", "coach",
    "coal", "coast", "cobra", "coconut", "coffee", "coin", "collar", "colony", "comet",
    "compass", "copper", "coral", "cork", "corner", "cottage", "cotton", "couch", "cousin",
    "cow", "crab", "cradle", "crane", "crater", "crayon", "cream", "creek", "cricket", "crow",
    "crown", "crystal", "cube", "curtain", "cushion", "cymbal", "daisy", "dancer", "deer",
    "desert", "desk", "dinner", "doctor", "dolphin", "donkey", "door", "dough", "dove",
    "dragon", "drawer", "dress", "drum", "duck", "eagle", "easel", "echo", "egg", "elbow",
    "elephant", "elm", "emerald", "engine", "envelope", "estate", "evening", "fabric", "falcon",
    "farmer", "feather", "fence", "fern", "ferry", "fiddle", "field", "fig", "finger", "flag",
    "flame", "flask", "flint", "flower", "flute", "foam", "fog", "forest", "fork", "fort",
    "fossil", "fountain", "fox", "frost", "fruit", "funnel", "fur", "galaxy", "gallery",
    "garden", "garlic", "gate", "gem", "ghost", "giant", "ginger", "glacier", "glove", "goat",
    "goose", "grain", "granite", "grape", "grass", "gravel", "guitar", "gull", "hammer",
    "harbor", "harp", "hat", "hawk", "hazel", "heart", "hedge", "helmet", "hen", "herb", "hill",
    "hinge", "honey", "hoof", "hook", "horn", "horse", "hotel", "hour", "house", "hut",
    "iceberg", "igloo", "ink", "insect", "iron", "island", "ivory", "jacket", "jaguar", "jar",
    "jelly", "jewel", "judge", "jug", "juice", "jungle", "kennel", "kettle", "key", "king",
    "kitchen", "kite", "kitten", "knee", "knife", "knight", "ladder", "lady", "lake", "lamb",
    "lamp", "lantern", "laurel", "lawn", "leaf", "leather", "lemon", "leopard", "letter",
    "lettuce", "lever", "library", "lily", "lime", "linen", "lion", "lizard", "lobster",
    "locket", "lodge", "lumber", "lunch", "lute", "magnet", "maple", "marble", "market", "mask",
    "meadow", "medal", "melon", "metal", "milk", "mill", "miner", "mint", "mirror", "mitten",
    "moat", "monkey", "month", "moon", "moose", "morning", "mosaic", "moss", "moth", "motor",
    "mountain", "mouse", "mud", "mule", "museum", "mushroom", "music", "mustard", "nail",
    "napkin", "needle", "nephew", "nest", "net", "nickel", "niece", "night", "noodle", "north",
    "nose", "notebook", "nut", "oak", "oar", "oasis", "oatmeal", "ocean", "office", "olive",
    "onion", "opal", "opera", "orange", "orbit", "orchard", "orchid", "organ", "otter", "oven",
    "owl", "oyster", "paddle", "page", "paint", "palace", "palm", "panda", "panther", "paper",
    "parade", "parrot", "pasta", "path", "peach", "peacock", "peanut", "pear", "pearl",
    "pebble", "pelican", "pencil", "penguin", "pepper", "piano", "picnic", "pigeon", "pillow",
    "pilot", "pine", "pirate", "pistol", "planet", "plank", "plate", "plum", "pocket", "poem",
    "pond", "pony", "poppy", "porch", "potato", "potter", "powder", "prairie", "prince",
    "prism", "puddle", "pumpkin", "puppet", "purse", "puzzle", "quail", "quarry", "queen",
    "quill", "rabbit", "radio", "raft", "railway", "rain", "raisin", "raven", "razor", "reef",
    "ribbon", "rice", "riddle", "river", "road", "robin", "rocket", "roof", "rope", "rose",
    "rubber", "ruby", "rug", "sail", "salad", "salmon", "salt", "sand", "sandal", "satin",
    "saucer", "scarf", "school", "scissors", "sculptor", "seal", "season", "seed", "shadow",
    "shark", "sheep", "shelf", "shell", "shield", "ship", "shirt", "shoe", "shop", "shovel",
    "shrimp", "silk", "silver", "singer", "sister", "skirt", "sky", "sled", "sleeve", "slipper",
    "smoke", "snail", "snow", "soap", "sock", "sofa", "soldier", "soup", "spade", "spider",
    "spinach", "spiral", "spoon", "spring", "squid", "stable", "stamp", "star", "station",
    "statue", "steam", "steel", "stone", "stool", "storm", "stove", "straw", "street", "string",
    "student", "sugar", "suit", "summer", "sun", "swan", "sweater", "sword", "table", "tailor",
    "tank", "teacher", "teapot", "temple", "tennis", "tent", "theater", "thimble", "thistle",
    "thread", "throne", "thumb", "thunder", "ticket", "tiger", "tile", "timber", "toast",
    "tomato", "tongue", "tooth", "torch", "tower", "town", "toy", "tractor", "train", "tray",
    "treasure", "tree", "trophy", "trumpet", "trunk", "tulip", "tunnel", "turkey", "turnip",
    "turtle", "uncle", "vacuum", "valley", "vase", "vault", "velvet", "vessel", "village",
    "vine", "violet", "violin", "volcano", "voyage", "wagon", "waiter", "wallet", "walnut",
    "walrus", "wardrobe", "water", "wave", "wax", "weasel", "whale", "wheat", "wheel",
    "whistle", "willow", "window", "wing", "winter", "wizard", "wolf", "wood", "wool", "wrench",
    "yacht", "yard", "yarn", "year", "yeast", "zebra", "zipper",
};

static const char *const adjectives[] = {
    "able", "ancient", "angry", "awake", "bald", "basic", "bitter", "blank", "bleak", "blind",
    "blond", "bold", "brave", "brief", "bright", "brisk", "broad", "broken", "busy", "calm",
    "careful", "cheap", "cheerful", "chilly", "civil", "clean", "clear", "clever", "cloudy",
    "clumsy", "coarse", "cold", "common", "complete", "cool", "correct", "cosy", "crisp",
    "crowded", "curious", "curly", "curved", "daily", "damp", "daring", "dark", "deep",
    "delicate", "dense", "dim", "distant", "double", "dry", "dull", "dusty", "eager", "early",
    "easy", "elegant", "empty", "equal", "exact", "extra", "faint", "fair", "famous", "fancy",
    "fast", "fierce", "fine", "firm", "flat", "fluffy", "fond", "foolish", "formal", "fragile",
    "free", "fresh", "friendly", "frozen", "full", "funny", "gentle", "glad", "gloomy",
    "golden", "good", "graceful", "grand", "grateful", "great", "green", "handy", "happy",
    "hard", "harsh", "hasty", "hearty", "heavy", "hidden", "high", "hollow", "honest", "huge",
    "humble", "hungry", "icy", "ideal", "idle", "jolly", "keen", "kind", "large", "lasting",
    "late", "lazy", "light", "likely", "little", "lively", "local", "lonely", "long", "loose",
    "loud", "loyal", "lucky", "mellow", "merry", "mighty", "mild", "modern", "modest", "muddy",
    "narrow", "neat", "nervous", "new", "nimble", "noble", "noisy", "normal", "odd", "open",
    "ordinary", "pale", "patient", "plain", "playful", "pleasant", "polite", "poor", "popular",
    "precious", "pretty", "prompt", "proper", "proud", "pure", "quick", "quiet", "rapid",
    "rare", "raw", "ready", "real", "regular", "rich", "ripe", "rough", "round", "royal",
    "rude", "rural", "rusty", "sad", "safe", "salty", "secret", "serious", "shallow", "sharp",
    "shiny", "short", "shy", "silent", "simple", "slender", "slim", "slow", "small", "smart",
    "smooth", "soft", "solid", "sour", "spare", "special", "spotless", "square", "steady",
    "steep", "sticky", "stiff", "still", "strange", "strict", "strong", "sturdy", "subtle",
    "sudden", "sunny", "sure", "sweet", "swift", "tall", "tame", "tasty", "tender", "thick",
    "thin", "tidy", "tiny", "tired", "tough", "tranquil", "true", "upper", "urban", "useful",
    "vast", "vivid", "warm", "wary", "weak", "wealthy", "wet", "wide", "wild", "wise", "wooden",
    "worthy", "young", "zealous",
};
/* clang-format on */

size_t eval_n_nouns(void)
{
    return sizeof nouns / sizeof *nouns;
}

const char *eval_noun(size_t i)
{
    return nouns[i];
}

size_t eval_n_adjectives(void)
{
    return sizeof adjectives / sizeof *adjectives;
}

const char *eval_adjective(size_t i)
{
    return adjectives[i];
}
