from .models.text.loading import load_text_encoder as load_text_encoder
from .models.text.students import load_student as load_student
from .segmenter import Segmenter as Segmenter
from .segmenter import Segments as Segments
from .tokenizer import Tokenizer as Tokenizer
