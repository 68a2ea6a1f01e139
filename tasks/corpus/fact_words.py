"""The words that facts and noise are made of, several on a line: a list of literals would be one a line."""

# ruff: noqa: SIM905

from __future__ import annotations

NAMES = """
    mira tomas anna boris clara david elena felix greta hugo irene jonas karla leo marta nils olga peter quinn rosa
    simon tara umar vera walter xenia yusuf zora adam bella carlos dora emil fiona gustav hanna ivan julia kurt lena
    mateo nora oscar paula ravi sofia theo ursula viktor wanda amir berta cyril diana ewan frida gina harald ida
    jakob kira lukas mona noel petra ramon sara timo
""".split()
THINGS = """
    falcon lantern anchor basket candle drum engine feather glove hammer jacket kettle ladder mirror needle oven
    pencil quilt ribbon saddle table umbrella violin wagon arrow bottle cradle dagger easel flute guitar helmet ink
    jar knife lamp marble net organ pillow radio shield telescope urn vase wheel axe bell compass door emerald flag
    globe harp island jewel key locket medal notebook orb puzzle robe scroll trumpet vault whistle
""".split()
CITIES = """
    oslo rome paris lima cairo delhi tokyo berlin madrid vienna dublin athens lisbon prague warsaw helsinki havana
    bogota quito dakar tunis rabat accra lagos nairobi harare luanda maputo amman beirut baghdad tehran kabul dhaka
    hanoi manila seoul osaka kyoto perth sydney auckland boston dallas denver seattle toronto montreal chicago miami
    munich hamburg geneva zurich milan venice naples turin seville porto riga minsk kiev sofya
""".split()
FOODS = """
    bread rice soup cheese honey apples pears plums cherries grapes lemons melons figs dates olives onions carrots
    beans peas corn potatoes tomatoes pepper garlic ginger mint basil cocoa coffee tea milk butter cream yogurt eggs
    fish salmon trout crab shrimp beef pork lamb chicken turkey duck noodles pasta pizza salad pancakes waffles
    cookies cakes candy jam syrup walnuts almonds cashews raisins mango papaya kiwi
""".split()
NOUNS = """
    river hill forest road bridge tower garden field harbour market valley meadow barn church fence orchard
""".split()
ADJECTIVES = """
    old quiet grey tall narrow bright empty wooden muddy cold dark green steep frozen busy broken
""".split()
