"""SeFi-IDE ("Beyond Inserting", arXiv 2402.00631): words for keys and for values, held to the face."""
