"""Documents of facts with questions: reading in context, needles in haystacks, and what Doc-to-LoRA is judged on."""
