"""BibTeX of base methods; interactions carry their own."""

_MAML = """@inproceedings{finn2017model,
  title = {Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks},
  author = {Finn, Chelsea and Abbeel, Pieter and Levine, Sergey},
  booktitle = {International Conference on Machine Learning}, year = {2017}
}"""
_REPTILE = """@article{nichol2018first,
  title = {On First-Order Meta-Learning Algorithms},
  author = {Nichol, Alex and Achiam, Joshua and Schulman, John},
  journal = {arXiv preprint arXiv:1803.02999}, year = {2018}
}"""
_ANIL = """@inproceedings{raghu2020rapid,
  title = {Rapid Learning or Feature Reuse? Towards Understanding the Effectiveness of MAML},
  author = {Raghu, Aniruddh and Raghu, Maithra and Bengio, Samy and Vinyals, Oriol},
  booktitle = {International Conference on Learning Representations}, year = {2020}
}"""
_BOIL = """@inproceedings{oh2021boil,
  title = {BOIL: Towards Representation Change for Few-shot Learning},
  author = {Oh, Jaehoon and Yoo, Hyungjun and Kim, ChangHwan and Yun, Se-Young},
  booktitle = {International Conference on Learning Representations}, year = {2021}
}"""
_META_SGD = """@article{li2017metasgd,
  title = {Meta-SGD: Learning to Learn Quickly for Few-Shot Learning},
  author = {Li, Zhenguo and Zhou, Fengwei and Chen, Fei and Li, Hang},
  journal = {arXiv preprint arXiv:1707.09835}, year = {2017}
}"""
_MAML_PP = """@inproceedings{antoniou2019how,
  title = {How to Train Your MAML},
  author = {Antoniou, Antreas and Edwards, Harrison and Storkey, Amos},
  booktitle = {International Conference on Learning Representations}, year = {2019}
}"""
_IMAML = """@inproceedings{rajeswaran2019meta,
  title = {Meta-Learning with Implicit Gradients},
  author = {Rajeswaran, Aravind and Finn, Chelsea and Kakade, Sham and Levine, Sergey},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2019}
}"""
_WARP = """@inproceedings{flennerhag2020meta,
  title = {Meta-Learning with Warped Gradient Descent},
  author = {Flennerhag, Sebastian and Rusu, Andrei A. and Pascanu, Razvan and Visin, Francesco
            and Yin, Hujun and Hadsell, Raia},
  booktitle = {International Conference on Learning Representations}, year = {2020}
}"""
_GUIROY = """@article{guiroy2019towards,
  title = {Towards Understanding Generalization in Gradient-Based Meta-Learning},
  author = {Guiroy, Simon and Verma, Vikas and Pal, Christopher},
  journal = {arXiv preprint arXiv:1907.07287}, year = {2019}
}"""
_MGAUG = """@article{wang2023improving,
  title = {Improving Generalization in Meta-Learning via Meta-Gradient Augmentation},
  author = {Wang, Ren and Sun, Haoliang and Wei, Qi and Nie, Xiushan and Ma, Yuling
            and Yin, Yilong},
  journal = {arXiv preprint arXiv:2306.08460}, year = {2023}
}"""
CITATIONS = {
    "maml": _MAML,
    "fomaml": _MAML,
    "reptile": _REPTILE,
    "anil": _ANIL,
    "boil": _BOIL,
    "meta_sgd": _META_SGD,
    "maml_pp": _MAML_PP,
    "imaml": _IMAML,
    "warp": _WARP,
    "mgaug": _MGAUG,
    "finetune": _GUIROY,
}
