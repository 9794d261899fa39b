"""The words that speak about a product's fate, in English and, more thinly, in other Western languages.

Enters: nothing. Leaves: pattern pieces over a clause's `line` (lower-case words with one blank between), used by
`reading`, `verdict` and `findings`. Cost: a language is a list of words here; what is not listed is not understood and
gives no verdict rather than a guessed one.
"""

from __future__ import annotations

import re


def words(text: str) -> str:
    """An alternation of the words in a text, longest first."""
    return (
        "(?:"
        + "|".join(sorted((re.escape(w).replace("_", " ") for w in set(text.split())), key=len, reverse=True))
        + ")"
    )


# ---------------------------------------------------------------- decisions

# Words that state a decision by themselves, whoever or whatever they are said of.
PASS_WORDS = words(
    "passed passes pass passing accepted acceptable accept accepts ok okay oks approved approve approves conforming conforms conform conformant "
    "compliant complies comply inorder allright nondefective faultless flawless releasable shippable qualifies qualified "
    "satisfactory admissible "
    "bestanden besteht bestand fehlerfrei fehlerfreies fehlerfreie fehlerlos einwandfrei einwandfreies einwandfreie mangelfrei mangelfreies makellos tadellos gutteil akzeptiert "
    "akzeptabel freigegeben angenommen abgenommen konform zulässig "
    "conforme conformes accepté acceptée accepte acceptable approuvé approuvée validé validée réussi réussie passe "
    "aprobado aprobada aprueba aceptado aceptada aceptable apto apta pasa pasó correcto "
    "approvato approvata accettato accettata accettabile superato superata supera idoneo idonea promosso "
    "aprovado aprovada aceito aceita aceitável passou "
    "goedgekeurd foutloos geslaagd acceptabel "
    "godkänd godkänt felfri felfritt godkendt godkjent fejlfri feilfri hyväksytty virheetön "
    "dobry dobra dobre zaliczony zaliczona sprawny sprawna bezbłędny bezbłędna zaakceptowany "
    "годен годна годно годный годное исправен исправно исправна принят принято пройден пройдена прошел прошёл прошло прошла соответствует бездефектный "
    "uygun kusursuz hatasız onaylandı geçti lulus đạt vyhovuje schválen"
)
FAIL_WORDS = words(
    "defective fail fails failed failing rejected reject rejects rejection ng nok nogo faulty nonconforming nonconformant noncompliant "
    "nonconformity unacceptable unsatisfactory inadmissible substandard scrap scrapped scrapping disqualified disapproved defectives failure "
    "inacceptable unaccepted unpassed "
    "fehlerhaft fehlerhafte fehlerhaftes fehlerhafter fehlerhaften defekt defekte defektes defekter mangelhaft mangelhafte mangelhaftes durchgefallen "
    "ausschuss ausschuß ausschussteil abgelehnt beanstandet schlechtteil zurückgewiesen schadhaft unzulässig verworfen aussortiert "
    "défectueux défectueuse défaillant défaillante rejeté rejetée refusé refusée rebuté échoué échoue recalé "
    "defectuoso defectuosa rechazado rechazada falla falló fallado reprobado descartado "
    "difettoso difettosa scartato scartata respinto respinta bocciato bocciata scarto "
    "defeituoso defeituosa reprovado reprovada rejeitado rejeitada recusado "
    "afgekeurd afgekeurde ondeugdelijk gebrekkig defecte "
    "underkänd underkänt defekta kasserad kasserat kassert kasseret hylätty viallinen "
    "wadliwy wadliwa uszkodzony uszkodzona odrzucony odrzucona "
    "брак бракованный бракованное дефектный дефектное дефектен дефектно негоден негодно неисправен неисправно забракован забраковано отклонен отклонён "
    "hatalı kusurlu reddedildi cacat vadný vadná nevyhovuje zamítnut"
)
# Words that describe a flaw or its lack; a decision by what they say.
FLAW_NOUN = words(
    "difference differences defect defects fault faults flaw flaws anomaly anomalies deviation deviations abnormality abnormalities "
    "discrepancy discrepancies irregularity irregularities imperfection imperfections blemish blemishes issue issues problem problems "
    "damage damages nonconformity nonconformities mismatch mismatches error errors objection objections complaint complaints variation variations "
    "inconsistency inconsistencies divergence divergences shortcoming shortcomings defekts finding findings distinction distinctions disparity disparities "
    "fehler fehlern mangel mängel abweichung abweichungen unterschied unterschiede defekte beanstandung beanstandungen auffälligkeit auffälligkeiten "
    "befund schaden schäden makel "
    "défaut défauts anomalie anomalies différence différences écart écarts problème problèmes "
    "defecto defectos diferencia diferencias fallo fallos anomalía anomalías problema problemas desviación desviaciones "
    "difetto difetti differenza differenze anomalie difformità "
    "defeito defeitos diferença diferenças "
    "gebrek gebreken afwijking afwijkingen fout fouten verschil verschillen "
    "fel avvikelse avvikelser skillnad skillnader fejl afvigelse afvigelser forskel forskelle avvik feil "
    "wad wada wady różnic różnice defektów "
    "дефект дефекты дефектов различий различия отличий отличия брака отклонений замечаний "
    "fark kusur hata"
)
NEG_WORDS = words(
    "not no never none nothing nobody without neither nor hardly barely scarcely zero nowhere lacks lack lacking devoid n't refuse refuses "
    "nicht kein keine keinen keinem keiner keinerlei ohne nie niemals weder nichts "
    "pas aucun aucune sans ni jamais rien "
    "sin ningún ninguna ninguno nunca tampoco nada "
    "non senza nessun nessuna nessuno mai niente "
    "não nao sem nenhum nenhuma nunca "
    "niet geen zonder nooit "
    "inte inga ingen inget utan aldrig ikke ingen intet uden uten ikkje ei "
    "nie brak bez żadnych "
    "не нет без ни "
    "yok değil tidak tanpa không"
)

SAME = words(
    "identical same alike equal equals indistinguishable unchanged identisch gleich identique identiques igual iguales idéntico idénticos idéntica idénticas identiche idênticas idêntica idêntico idênticos identico identici uguale uguali "
    "identiek gelijk lika identiska"
)
# A cell of which this is said does not differ.
FINE = words(
    "ok okay fine good correct correctly right allright intact normal normally perfect perfectly complete undamaged unharmed clean inorder inplace asitshould present straight "
    "matching match matches matched agree agrees coincide coincides correspond corresponds same identical alike equal equals unchanged unaffected faultless flawless nondefective "
    "unremarkable inconspicuous similar passed pass passes accepted acceptable conforming conforms undisturbed proper properly regular regularly sound consistent "
    "tolerable negligible there irrelevant harmless permitted allowed innocent "
    "korrekt richtig gleich identisch unauffällig stimmt einwandfrei fehlerfrei vorhanden "
    "correct correcte identique identiques conforme conformes normale "
    "correcto correcta igual iguales idéntico bien "
    "corretto corretta uguale uguali identico bene "
    "correto correta idêntico "
    "goed correct gelijk identiek "
    "rätt lika identisk"
)
DIFFERS = words(
    "affected moved slipped fallen differ differs differed weicht abweicht different differently deviate deviates deviating damaged damage wrong wrongly incorrect incorrectly abnormal abnormality unusual suspicious unlike "
    "mismatch mismatched mismatches odd strange off faulty defective defect defects difference differences flaw flaws fault faults anomaly anomalies deviation deviations "
    "discrepancy irregularity issue issues problem problems error errors bad lacks lack lacking gone disappeared vanished empty blank gap broken bent crooked dirty dented "
    "cracked scratched scratch crack dent burnt burned melted torn loose swapped exchanged replaced extra superfluous additional smaller larger bigger shorter longer "
    "darker brighter fehlt fehlen fehlerhaft fehler beschädigt verschmutzt verdreht verschoben abweichung anders falsch defekt gebrochen kaputt "
    "manque manquent manquant manquante absente cassé cassée abîmé différent différente endommagé défaut défauts défectueux "
    "falta faltan faltante roto rota dañado dañada diferente defecto defectos sucio manchado "
    "manca mancano mancante rotto rotta danneggiato diverso diversa difetto difetti sporco "
    "defeito quebrado danificado ontbreekt ontbreken kapot beschadigd afwijking anders saknas skadad trasig avviker fel mangler brakuje uszkodzony отсутствует поврежден повреждён дефект брак"
)

# ---------------------------------------------------------------- who is spoken of

PRODUCT = words(
    "product products item items article articles sample samples specimen specimens part parts piece pieces object objects unit units tray trays board boards panel panels "
    "image images photo photos picture pictures photograph photographs view views shot shots assembly assemblies device devices component good goods pack packs package packages box boxes "
    "carton cartons kit set sets one ones workpiece workpieces module modules lot tile sheet plate frame frames circuit circuits pcb pcbs card cards prüfling teil teile produkt produkte produit pièce imágenes imagen fotos immagini immagine imagens bilder bild producto "
    "pieza prodotto pezzo produto peça stuk detail изделие продукт деталь образец it this that these those they everything all both result he she test inspection "
    "state status condition conclusion judgement judgment verdict decision"
)
IMAGE = words(
    "image images photo photos picture pictures photograph photographs panel panels view views shot shots frame frames half halves product products item sample specimen object part piece tray board unit one article "
    "pack box carton picture's illustration scan snapshot bild bildes produkt teil"
)
REFERENCE = re.compile(
    r" (?:"
    r"(?:upper|uppermost|top|topmost|above|obere|oberen|oberes|oberer|supérieur|supérieure|superior|superiore|bovenste|övre|øverste|верхнее|верхний|верхняя) (?!row|left|right|edge|corner|corners|side|surface|face|line|half of the bottom|third|layer|end|margin|border|of|to|and|LOC|LINE|DEF|,|\.|-)[^\W\d]+"
    r"|(?:first|left|left - hand|1st|former|initial|original|good|passed|accepted|approved|released|known good|golden|perfect|flawless|faultless|master|model|standard|benchmark|ideal|reference|defect - free|nondefective) "
    rf"(?:reference )?{IMAGE}(?= )"
    r"|(?:reference|references|golden sample|referenz|referenzbild|gutmuster|muster|référence|referencia|referência|riferimento|referentie|referens|эталон|эталона|эталону|template|prototype|benchmark)(?= (?!to |number|designator))"
    r"|(?:at|on|in|of|from|to|with|than|as|for|du|en|de|di|do|da|van|von|vom) (?:the )?(?:top|upper one|above|first one|haut|arriba|sopra|cima|oben|boven)(?= (?!row|left|right|edge|corner|side|of|surface|line|third|layer|end|half of the bottom))"
    r"|(?:top|oben|haut|upper|arriba|sopra)(?= (?::|=) )"
    rf"|{IMAGE} (?:1|a(?= (?:is|has|was|shows|looks|and|,|:) )|one|above|on top|at the top|oben|du haut|de arriba|no \. 1|# 1)(?= )"
    r"|(?:upper|top|first) one(?= )"
    r")"
)
TESTED = re.compile(
    r" (?:"
    r"(?:lower|lowermost|bottom|bottommost|untere|unteren|unteres|unterer|inférieur|inférieure|inferior|inferiore|onderste|undre|nedre|nederste|нижнее|нижний|нижняя) (?!row|left|right|edge|corner|corners|side|surface|face|line|half of the top|third|layer|end|margin|border|of|to|and|LOC|LINE|DEF|,|\.|-)[^\W\d]+"
    rf"|(?:second|right|right - hand|2nd|latter|tested|inspected|examined|submitted|present|current|given|other|new|unknown|questionable|test) {IMAGE}(?= )"
    r"|(?:under test|under inspection|under examination|to be (?:inspected|tested|judged|evaluated|checked)|test piece|test product|test sample|test item|prüfling|prüfteil|échantillon|muestra|campione|amostra|proefstuk|sample|samples|specimen|образец|изделие)(?= )"
    r"|(?:at|on|in|of|from|to|with|than|as|for|du|en|de|di|do|da|van|von|vom) (?:the )?(?:bottom|lower one|below|second one|bas|abajo|sotto|baixo|unten|onder)(?= (?!row|left|right|edge|corner|side|of|surface|line|third|layer|end))"
    r"|(?:bottom|unten|bas|lower|test|dut|abajo|sotto)(?= (?::|=) )"
    rf"|{IMAGE} (?:2|b|two|below|at the bottom|unten|du bas|de abajo|no \. 2|# 2)(?= )"
    r"|(?:lower|bottom|second) one(?= )"
    r")"
)
BOTH = re.compile(
    r" (?:both (?:of )?(?:the |these |them |two |those )?(?:two )?(?:[^\W\d]+s(?! (?:at |in )?(?:LOC|LINE))|are|look|have|pass|passed|show|fail|ones|times|sides)|"
    r"each of the (?:two )?(?:products|images|photos|pictures|panels|trays|boards)|the two (?:products|images|photos|pictures|panels|trays|boards|items|samples|pieces|parts|objects|units|cartons|boxes|packs|sets|views|keyboards|halves|circuits|cards)(?! (?:at |in )?(?:LOC|LINE))|"
    r"either (?:product|image|photo|picture)|bothproducts|beide|beiden|les deux|ambos|ambas|entrambi|entrambe|os dois|allebei|båda)(?= )"
)
# What a reference stands behind when it is only compared with, not spoken about.
COMPARING = re.compile(
    r" (?:as|than|like|unlike|to|(?:identical|agree|agrees|agreed|coincide|coincides|compare|compared|comparison|consistent|match|matches|matched|accordance|line|conformity|tallies|compar(?:ing|ed?) \w+(?: \w+){0,4}) with|from|against|comparedto|comparing|matches|match|matching|equals|resembles|wie|als|comme|como|come|zu|mit|zum|con|al|met|"
    r"requirements of|standard of|criteria of|quality of|level of|condition of|specification of|appearance of|requirements for|criteria for) "
    r"(?:(?:the|a|an|that|those|these|its|one|ones|of|in|on|at|shown|seen|what|is|der|dem|das|die|le|la|el|il|lo|o|het|de|our|this|known|visible|part|parts|cube|cubes|which|are|was|were|to|seen|there) ){0,5}$"
    r"| (?:than|unlike) (?:[^\s,]+ ){0,6}$"
)

# ---------------------------------------------------------------- how it is meant

OPEN_IF = re.compile(
    r" (?:if|unless|provided|ifso|in that case|in the latter case|in the former case|in such a case|in which case|falls(?= (?:der|die|das|ein|eine|es|sie|er|man|kein|keine|ich|wir|nicht|etwas) )|wenn|sofern|si|se(?= (?:il|la|o|a|le|i|un|una) )|als(?= (?:het|de|er) )|om(?= (?:den|det|en) )|если|jeżeli|if not|or else|imagine|hypothetically|suppose that|supposing that|in which case) "
)
SHOWING_IF = re.compile(
    r" if (?:you|we|one|i) (?:look|compare|zoom|see|go|consider|take|examine|inspect|check|overlay|put|lay|place|count|need|have any|have further|have more|want|wish|would like|require|ask)| let me know if | feel free | if (?:needed|necessary|required|anything is unclear|there are any (?:other |further |more )?questions|it helps|that helps) "
)
GENERIC = re.compile(
    rf"^ (?:(?:generally|usually|typically|in general|as a rule|normally)(?: speaking)? |an? (?:\w+ )?DEF (?:\w+ )?(?:is|are) (?:usually|always|often|worse|better) )|^ (?:(?:and|but|so|because|since|as|that|,) )*(?:(?:an?|any|every|such|such an?|each) (?:(?!passed |defective one)\w+ )?(?:{PRODUCT}) (?:(?:like|with|without|that|which|whose|in general|having|lacking) [^,]*)?(?:is|are|must|has to|have to|should|never|always|can|will|would|may)"
    rf"|(?:{PRODUCT}) (?:like|with|that|which|whose|of this|without) [^,]*(?:are|must|have to|should|will|would|can|fail|pass)) "
)
EITHER_OR = re.compile(
    r" either (?=[^,]{2,90} or )(?=.{0,90} (?:lens|camera|reflection|shadow|glare|photo|image|light|artefact|artifact) )"
)
MAYBE = re.compile(
    r" (?:might|(?<!nobody )(?<!no one )(?<!never )could(?! (?:not |only |clearly |also |easily )?(?:be )?(?:find|found|see|seen|detect|detected|spot|spotted|notice|noticed|observe|observed|identify|identified|discover|discovered|make out|recognise|recognize|recognised|recognized|made out) )|(?<! by )(?<! about )(?:perhaps|maybe|possibly)(?! (?:by|from|due|because|caused|during|after|when) )(?!(?<= , perhaps) (?:[^\W\d]+ ){1,4}$)(?!(?<= , maybe) (?:[^\W\d]+ ){1,4}$)(?!(?<= , possibly) (?:[^\W\d]+ ){1,4}$)|potentially|presumably not|can be either|whether|can be assumed|may be assumed|can be presumed|50 / 50|fifty - fifty|(?<! no )chance (?:that|of)|hypothetical|hypothetically|imaginable|conceivable|conceivably|suspect|suspected|suspicion|suspicious of|guess|guessing|undecided|"
    r"vielleicht|möglicherweise|könnte|könnten|eventuell|ob|peut - être|pourrait|quizás|quizá|tal vez|podría|forse|potrebbe|talvez|poderia|misschien|zou|kanske|kunde|может|возможно|możliwe|może) "
)
PERMITTED = re.compile(
    r" may (?:now |thus |therefore |safely |also |not )*(?:be )?(?:shipped|released|delivered|accepted|sold|used|sent|dispatched|leave|go|enter|reach)"
    r"| (?:can|could) (?:now |thus |therefore |safely |also |not )*(?:be )?(?:shipped|released|delivered|accepted|passed|sold|used|approved|sent|dispatched|leave|pass|go|enter|reach|considered|regarded|called|classified|rated|judged|seen|said|confirmed)"
)
MAY = re.compile(r" may ")
WOULD = re.compile(
    r"(?<! nothing that)(?<! anything that)(?<! nothing which)(?<! anything which)(?<! reason that)(?<! name)(?<! defect)(?<! nobody)(?<! no one)(?<! never)(?<! nor) (?:would(?! be (?:wrong|incorrect|false|unfair|unjustified|a mistake|an error|misleading) to| (?:have )?expect)|würde|würden|serait|sería|sarebbe|seria) "
)
I_WOULD = re.compile(
    r" (?:i|we) would(?! (?:\w+ )?(?:need|like(?! to (?:draw|point|call|direct|mention|start|begin|turn|add|note|stress|highlight))|have|want|wish|expect|prefer|require|guess|first)) | (?:it|this|(?:the|this) (?:\w+ ){0,2}(?:product|sample|item|tray|board|piece|part|unit)) would (?:not |never |fail|be rejected|pass)"
)
_TELL = words(
    "compare explain evaluate answer respond reply describe provide choose select classify ignore specify mention decide determine assess judge state check inspect find say report identify tell name list"
)
INSTRUCTION = re.compile(
    rf"^ (?:(?:please|kindly|now|then|and|first|next|finally|always|just|simply|from now on|system|task|question|instruction|instructions|user|prompt|q|human|:|,|\d+|\.|\"|') )*"
    r"(?:(?:compare|explain|evaluate|describe|provide|choose|select|classify|ignore|specify|mention|decide|determine|assess|please|judge whether|check whether|find (?:the|any|all|out) |"
    r"(?:answer|respond|reply|write|print|return|output|say|state|tell|name|list|give|report) (?:with|by|in|only|the|a|an|me|us|either|using|whether|yes|exactly|one|if|your|its|any|all|every)) )(?!(?::|=|-|is|are|was) )"
    rf"|(?! you will (?:\w+ )?(?:find|see|say|tell) ) you (?:should|must|have to|need to|are to|are asked to|will|are going to) (?:\w+ )?{_TELL} | your (?:task|job|answer should|answer must|response should|response must) "
    r"| (?:(?<! in)(?<! in the) question|task|instruction|instructions|prompt|goal|aim|job|assignment|request) (?:is|was|asks|asked|says|reads|requires|wants|states) | (?<! that)(?<! which) (?:i|we|you) (?:am|are|was|were|have been|had been) (?:asked|told|instructed|requested|supposed|given) | from now on | asks (?:me|us|for|to|whether) | asked (?:me|us) "
    r"| (?:options|choices|possible (?:answers|results|verdicts|outcomes)|allowed (?:answers|values)|answer|verdict|result|outcome|decision|output) (?:is|are|can be|must be|should be|may be|has to be|will be) (?:either|one of|limited|given as) "
)
EXAMPLE = re.compile(
    r" (?:for example|for instance|e \. g|e\.g|example|examples|such as LOC|say LOC|as in LOC is|(?<! not )looks? like this|would read|would look|format|zum beispiel|z \. b|par exemple|por ejemplo|ad esempio|bijvoorbeeld|hypothetical|imagine|sample answer) "
)
FIRST_THOUGHT = re.compile(
    r" (?:(?:is|was|were) (?:too |a bit |a little )?(?:premature|hasty|rash)|first impression|initial impression|impression was|atfirst|initially|first thought|first answer|first guess|first verdict|first judgement|first judgment|first reading|first decision|initial (?:verdict|answer|judgement|judgment|assessment|guess|thought|decision|reading|suspicion)|earlier (?:answer|verdict|statement|judgement)|"
    r"previous (?:answer|verdict|statement|judgement)|(?:i|we) (?:also |briefly )?(?:thought|suspected|assumed|believed|said|wrote|took|mistook|feared|supposed)|"
    r"(?:i|we) (?:first|had|had first|initially|originally|previously|wrongly|mistakenly|earlier) (?:thought|suspected|assumed|believed|said|wrote|took|claimed|stated|declared|called|considered|judged|wanted|marked|noted|reported|regarded|rated|classified|concluded)|"
    r"what (?:i|we) took for|what (?:looks|looked|seemed|appeared)|seemed to be|appeared to be|seemed|was tempted|were tempted|was about to|was inclined|mistaken for|would have said|one could think|one might think|at the beginning|in the beginning|on first look|on a first look|"
    r"zuerst|zunächst|auf den ersten blick|d'abord|à première vue|al principio|a primera vista|all'inizio|inizialmente) "
)
RETRACTS = re.compile(
    r" (?:so (?:i|we) thought|so it (?:seemed|looked)|not really|recount|recounting|excuse me|wrong (?:photo|image|picture|way round)|second (?:check|inspection|glance|examination)|wait|mixed up|confused|looking once more|once more|hold on|overlooked|let me check again|check again|come to think|looking at it again|correction|corrected|scratch that|strike that|on second thought|on second thoughts|second thought|take (?:that|it|this) back|taking that back|(?:i|we) (?:am|was|were|have been|had been) (?:wrong|mistaken|in error)|my mistake|my error|my bad|made (?:a|an) (?:mistake|error)|correct (?:myself|my|this|that)|"
    r"looking again|look again|looked again|looking closer|looking more closely|look more closely|closer look|closer inspection|closer examination|second look|checking again|checked again|re - check|recheck|rechecking|re - checking|double - check|double - checking|double checking|double check|reconsider|reconsidering|reconsidered|revise|revised|revising|amend|amended|"
    r"change my mind|changed my mind|changing my mind|change my (?:answer|verdict|decision|judgement)|apologies|apologize|i apologise|actually|in fact|in reality|after all|must be withdrawn|withdraw|withdrawn|retract|disregard|ignore that|forget that|forget it|not quite|hmm|oops|"
    r"turns out|turned out|on reflection|having looked|zooming in|korrektur|korrigiere|doch|moment|attendez|correction|espera|corrección|correzione|aspetta|wacht|correctie|вернее|исправление|стоп) "
)
FINAL = re.compile(
    r" (?:final|finally|conclusion|ultimately|in the end|in conclusion|to conclude|i conclude|overall|in summary|to sum up|summary|all in all|endergebnis|fazit|schluss|conclusion|finalmente|conclusión|conclusione|eindoordeel|corrected|definitive|definitely) "
)
UNDECIDED = re.compile(
    r" (?:(?:can|could|do|does|did|would|is|am|are|be|was|were|will)(?: \w+)? not (?:\w+ )?(?:\w+ )?(?:decide|decided|determine|determined|tell|judge|judged|say|assess|assessed|evaluate|evaluated|conclude|concluded|know|possible|sure|certain|clear|confirm|confirmed|verify|verified|prove|proved|proven|allow|enough|sufficient|recognise|recognize|identify|make a decision|give a verdict|make out|answer)|"
    r"unable to|not able to|impossible to|impossible|not possible|inconclusive|undecided|undetermined|uncertain|unsure|unclear|indeterminate|too (?:blurry|blurred|dark|small|low|bright|unclear|noisy|poor|coarse|vague|grainy)|no (?:decision|verdict|judgement|judgment|statement|answer|conclusion|final)|hard to (?:say|tell|decide|judge)|difficult to (?:say|tell|decide|judge|determine)|"
    r"(?:need|needs|require|requires|would need) (?:\w+ ){0,3}(?:more|further|second|sharper|better|another|additional|closer)|insufficient|depends|depend|further (?:inspection|information|check)|please (?:provide|upload|send|share|describe)|reserve (?:my|judgement)|refrain|cannot be|open question|no opinion|second opinion|left open|"
    r"kann nicht|kann ich nicht|nicht beurteilen|nicht erkennbar|nicht entscheiden|ne peux pas|ne peut pas|impossible|no puedo|no se puede|non posso|non è possibile|não posso|não é possível|kan niet|kan ik niet|не могу|невозможно|nie mogę) "
)
REFUSES = re.compile(
    r" (?:as an ai|as a language model|as a text|language model|(?:can|could|am|are|do|does) not (?:\w+ )?(?:able to )?(?:view|see|access|process|assist|help|analyze|analyse|open|display|comply|fulfil|fulfill|look at|provide|the ability|have the ability|have access|have vision|have any image|have eyes)|unable to (?:view|see|access|process|assist|help|analyze|analyse)|"
    r"not able to (?:view|see|access|process|assist|help|analyze|analyse)|no (?:image|picture|photo|images|pictures|attachment)(?: \w+)? (?:was|were|is|are|has|have|provided|attached|supplied)|without (?:access to|seeing) (?:the|an) (?:image|images|picture|photo)|against my|not appropriate|keine bilder|bilder nicht) "
)
