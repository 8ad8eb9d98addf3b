"""The bundled models, really trained by this package, and what they were trained on."""
