import time, numpy as np
from engine_oracles import *
from constrained.search import *
def test_x(real_names, real_concepts, trained, tiny_llama):
    trie=trie_of(real_names)
    for m in (trained, tiny_llama(400,seed=3,scale=3.0), tiny_llama(400,seed=4,scale=6.0)):
        P=[[300+i,310+i] for i in range(6)]
        t=time.process_time(); s=[scores_of(m,p,real_names) for p in P[:2]]; print("\nscore",time.process_time()-t)
        for k,c in ((1,None),(3,None),(5,None),(3,real_concepts)):
            tr=Passes(); t=time.process_time(); f=exact_search(m,trie,P,k=k,concept_of=c,max_expansions=None,trace=tr); print(k,"exact",time.process_time()-t,len(tr),sum(tr.tokens),[x.expansions for x in f],[round(x.names[0].log_prob,2) for x in f],flush=True)
