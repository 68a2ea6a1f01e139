"""Small tasks described in words: what Text-to-LoRA reads, with held-out descriptions and held-out tasks."""
