from .models.text.loading import load_text_encoder as load_text_encoder
from .models.text.students import load_student as load_student
from .saco.segments import Segments as Segments
from .segmenter import Segmenter as Segmenter
from .tokenizer import Tokenizer as Tokenizer
