"""Small models with random weights, as GGUF files of any family that the converter knows.

Rows of every matrix are small integers times a power of two, with a 127 among them, so that the converter's 8 bits hold them
exactly: what is left between the exact engine and a float run is the rounding of activations. Queries and keys are scaled so that
attention is sharp: a wrong rotation, window or bias shows in every logit.
"""
import gguf
import numpy as np

NEOX = ("qwen2", "qwen3", "gemma3")


def byte_tokens():
    """The 256 byte tokens of GPT-2's vocabulary, in the order of their bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names, extra = {b: chr(b) for b in plain}, 256
    for b in range(256):
        if b not in names:
            names[b] = chr(extra)
            extra += 1
    return [names[b] for b in range(256)]


class Model:
    """Keys and tensors of a file; change what you like, then write it."""

    def __init__(self, family, seed=1, layers=4, dim=128, inner=192, heads=4, kv_heads=2, head_dim=32, tied=True, bias=(),
                 rope_freqs=False, window=0, context=512):
        self.family, self.head_dim, self.heads, self.kv_heads = family, head_dim, heads, kv_heads
        self.random = np.random.default_rng(seed)
        self.keys, self.tensors = {}, {}
        self.template = None  # of chats
        self.window = window
        if family == "gemma3":
            layers = 7
        self.keys.update({
            "context_length": context, "embedding_length": dim, "block_count": layers, "feed_forward_length": inner,
            "attention.head_count": heads, "attention.head_count_kv": kv_heads, "attention.key_length": head_dim,
            "attention.value_length": head_dim, "attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 10000.0,
        })
        if window:
            self.keys["attention.sliding_window"] = window
            self.keys["rope.freq_base"] = 1000000.0
        vocab = 260
        post, qk = family == "gemma3", family in ("qwen3", "gemma3")
        scale = dim ** 0.5 if family == "gemma3" else 1
        self.matrix("token_embd.weight", vocab, dim, 1 / scale)
        if not tied:
            self.matrix("output.weight", vocab, dim, 3 / dim ** 0.5)
        self.norm("output_norm.weight", dim, 0.3 if tied else 1)
        if rope_freqs:
            self.tensors["rope_freqs.weight"] = np.linspace(1, 8, head_dim // 2, dtype=np.float32)
        sharp = 1 if qk else 1.2  # of queries and keys
        for layer in range(layers):
            p = f"blk.{layer}."
            self.norm(p + "attn_norm.weight", dim)
            self.matrix(p + "attn_q.weight", heads * head_dim, dim, sharp / dim ** 0.5)
            self.matrix(p + "attn_k.weight", kv_heads * head_dim, dim, sharp / dim ** 0.5)
            self.matrix(p + "attn_v.weight", kv_heads * head_dim, dim, 1 / dim ** 0.5)
            if qk:
                self.norm(p + "attn_q_norm.weight", head_dim, 1.2)
                self.norm(p + "attn_k_norm.weight", head_dim, 1.2)
            self.matrix(p + "attn_output.weight", dim, heads * head_dim, 0.7 / (heads * head_dim) ** 0.5)
            if post:
                self.norm(p + "post_attention_norm.weight", dim, 0.7)
                self.norm(p + "post_ffw_norm.weight", dim, 0.7)
            self.norm(p + "ffn_norm.weight", dim)
            self.matrix(p + "ffn_gate.weight", inner, dim, 1 / dim ** 0.5)
            self.matrix(p + "ffn_up.weight", inner, dim, 1 / dim ** 0.5)
            self.matrix(p + "ffn_down.weight", dim, inner, 1 / inner ** 0.5)
            for name in bias:
                rows = len(self.tensors[p + name + ".weight"])
                size = 2.0 if name in ("attn_q", "attn_k") else 0.5
                self.tensors[p + name + ".bias"] = (size * self.random.standard_normal(rows)).astype(np.float32)

    def matrix(self, name, rows, cols, rms):
        w = np.clip(np.rint(40 * self.random.standard_normal((rows, cols))), -127, 127)
        w[np.arange(rows), self.random.integers(0, cols, rows)] = 127
        self.tensors[name] = (w * 2.0 ** np.rint(np.log2(rms / 41))).astype(np.float32)

    def norm(self, name, count, size=1):
        self.tensors[name] = (size * self.random.uniform(0.5, 1.5, count)).astype(np.float32)

    def rotated(self):
        """The same with each head's rows in the other order of rotated pairs: what a converter that mistakes the order makes."""
        other, hd = self.copy(), self.head_dim
        for name, w in self.tensors.items():
            if any(part in name for part in (".attn_q.", ".attn_k.", ".attn_q_norm.", ".attn_k_norm.")):
                heads = w.reshape((-1, 2, hd // 2) + w.shape[1:])
                other.tensors[name] = np.ascontiguousarray(np.swapaxes(heads, 1, 2).reshape(w.shape))
        return other

    def copy(self):
        other = object.__new__(Model)
        other.__dict__ = dict(self.__dict__, keys=dict(self.keys), tensors=dict(self.tensors))
        return other

    def write(self, path, types=None):
        """types: {tensor name: (raw bytes as uint8 rows, gguf type)} instead of floats."""
        w = gguf.GGUFWriter(path, self.family)
        for key, value in self.keys.items():
            name = f"{self.family}.{key}"
            if isinstance(value, str):
                w.add_string(name, value)
            elif isinstance(value, (list, tuple)):
                w.add_array(name, value)
            elif isinstance(value, float):
                w.add_float32(name, value)
            else:
                w.add_uint32(name, value)
        w.add_tokenizer_model("gpt2")
        w.add_tokenizer_pre("gpt-2")
        w.add_token_list([*byte_tokens(), "<bos>", "<eos>", "th", "he"])
        w.add_token_types([1] * 256 + [3, 3, 1, 1])
        w.add_token_merges(["t h", "h e"])
        w.add_bos_token_id(256)
        w.add_eos_token_id(257)
        w.add_add_bos_token(self.family == "gemma3")
        if self.template:
            w.add_chat_template(self.template)
        for name, values in self.tensors.items():
            if types and name in types:
                raw, kind = types[name]
                w.add_tensor(name, raw, raw_dtype=kind)
            else:
                w.add_tensor(name, values)
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.write_tensors_to_file()
        w.close()
        return path
