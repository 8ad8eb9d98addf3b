"""Does a layer's logit lens read a class word?"""
